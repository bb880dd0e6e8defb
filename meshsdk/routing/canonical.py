"""One canonical request: what the connection manager does before filters and routes look.

Source: Envoy, ConnectionManagerImpl::ActiveStream::decodeHeaders; what is stricter is named in the
threat model.
"""

import re
from dataclasses import replace
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request
from meshsdk.resources.hcm_options import HcmOptions
from meshsdk.routing import refusals
from meshsdk.routing.domains import without_port
from meshsdk.routing.fields import PROTO, checked_fields, forwarded_fields
from meshsdk.routing.path import Refusal, canonical_path, is_untouched, normalize

_ABSOLUTE_FORM: Final = re.compile(r"(?i:https?)://(?:[^/?#@\\]*@)?([^/?#@\\]+)([/?].*)?")
_PRINTABLE_TAIL: Final = re.compile(r"[!-\"$-~]*")  # a query: visible ASCII less `#`


def canonicalize(
    request: Request,
    options: HcmOptions,
    context: CallContext,
    internal_only_headers: tuple[str, ...] = (),
) -> Request | LocalReply:
    """The request that filters, routes and the application see alike, or the refusal.

    Writes the call's `remote` and `is_internal`. `internal_only_headers` are the route
    configuration's.
    """
    strict = options.compat == "strict"
    checked = checked_fields(request, options)
    if not isinstance(checked, LocalReply) and "host" in checked.headers:
        checked = _one_host(checked, strict)
    if isinstance(checked, LocalReply):
        return checked
    request = checked
    if not request.path.startswith("/"):
        checked = _origin_form(request, context, strict)
        if isinstance(checked, LocalReply):
            return checked
        request = checked
    if not refusals.is_plain_line(request):
        refusal = refusals.refuse_line(request, strict)
        if refusal is not None:
            return refusal
    path = _path(request, options, strict)
    if isinstance(path, LocalReply):
        return path
    authority = _authority(request, options, context)
    headers = forwarded_fields(request, options, context, internal_only_headers)
    if isinstance(headers, LocalReply):
        return headers
    if options.scheme_to_overwrite:
        headers = headers.set(PROTO, options.scheme_to_overwrite)
    return Request(
        request.method,
        authority,
        path,
        headers,
        _scheme(request, headers, options),
        request.protocol,
        request.has_body,
    )


def _one_host(request: Request, strict: bool) -> Request | LocalReply:
    """`host` beside `:authority`: the latter counts; strict refuses two that differ."""
    hosts = request.headers.values("host")
    authority = request.authority or ",".join(hosts)
    if strict and hosts != (authority,):
        return refusals.stricter("dup-host")
    return replace(request, authority=authority, headers=request.headers.without("host"))


def _path(request: Request, options: HcmOptions, strict: bool) -> str | LocalReply:
    path = request.path
    mark = path.find("?")
    bare, tail = (path, "") if mark < 0 else (path[:mark], path[mark:])
    if (
        request.method != "CONNECT"
        and is_untouched(bare)
        and (not tail or _PRINTABLE_TAIL.fullmatch(tail))
    ):
        return path
    refusal = refusals.refuse_octets(request, strict)
    if refusal is not None:
        return refusal
    if not path:
        return path
    if request.method == "CONNECT" and request.protocol == "http1":
        return refusals.BAD_REQUEST
    if "#" in path:
        if options.reject_fragment or strict:
            return refusals.PATH_NORMALIZATION
        path = path[: path.index("#")]
        bare, question, query = path.partition("?")
        tail = question + query
    if strict and "%00" in bare:
        return refusals.PATH_NORMALIZATION
    return _normalized(request, bare, tail, options, strict)


def _normalized(
    request: Request, bare: str, tail: str, options: HcmOptions, strict: bool
) -> str | LocalReply:
    found = normalize(bare, options)
    if isinstance(found, Refusal):
        return refusals.PATH_NORMALIZATION
    bare, redirect = found
    if redirect:
        if (request.headers.get("content-type") or "").startswith("application/grpc"):
            return refusals.PATH_NORMALIZATION
        location = (("location", bare + tail),)
        return LocalReply(307, headers=location, details=refusals.PATH_NORMALIZATION.details)
    if strict and options.normalize_path and canonical_path(bare) != bare:
        return refusals.stricter("path-not-fixed-point")
    return bare + tail


def _origin_form(request: Request, context: CallContext, strict: bool) -> Request | LocalReply:
    """The request whose target is not in origin form: a proxy's absolute-form is taken apart, a
    CONNECT has no path; strict servers refuse both (`target-form`)."""
    if strict and context.is_inbound:
        return refusals.stricter("target-form")
    path = request.path
    http1 = request.protocol == "http1"
    if request.method == "CONNECT":
        return replace(request, path="")
    if not path:
        return refusals.MISSING_PATH
    absolute = _ABSOLUTE_FORM.fullmatch(path) if http1 else None
    if absolute is not None:
        target = absolute[2] or "/"
        if not target.startswith("/"):
            return refusals.ABSOLUTE_PATH
        return replace(request, authority=absolute[1], path=target)
    asterisk = path == "*" and request.method == "OPTIONS"
    if not http1 or asterisk:
        return refusals.ABSOLUTE_PATH
    return refusals.INVALID_URL if path.startswith("*") else refusals.BAD_REQUEST


def _authority(request: Request, options: HcmOptions, context: CallContext) -> str:
    """Envoy, maybeNormalizeHost: the trailing dot first, then the port."""
    authority = request.authority
    if options.strip_trailing_host_dot:
        host = without_port(authority)
        if host.endswith("."):
            authority = host[:-1] + authority[len(host) :]
    if request.method == "CONNECT":
        return authority
    if options.strip_any_host_port:
        return without_port(authority)
    if options.strip_matching_host_port:
        suffix = f":{context.connection.local.port}"
        if authority.endswith(suffix):
            return authority[: -len(suffix)]
    return authority


def _scheme(request: Request, headers: Headers, options: HcmOptions) -> str:
    if options.scheme_to_overwrite:
        return options.scheme_to_overwrite
    if request.protocol == "h2":
        return request.scheme.lower()
    forwarded = headers.get(PROTO)
    return forwarded if forwarded in ("http", "https") else request.scheme
