"""Rewriting path and host of a request as its route says."""

from dataclasses import replace
from typing import assert_never

from meshsdk.call.context import CallContext
from meshsdk.call.message import Request
from meshsdk.matching.path import without_query
from meshsdk.resources.format_values import Values
from meshsdk.resources.path_rewrite import (
    FormatRewrite,
    HostFormat,
    HostFromHeader,
    HostFromPath,
    HostLiteral,
    HostOfEndpoint,
    HostRewrite,
    PathRewrite,
    PrefixRewrite,
    RegexRewrite,
    TemplateRewrite,
)
from meshsdk.resources.route_match import RouteMatch

ORIGINAL_PATH = "x-envoy-original-path"
ORIGINAL_HOST = "x-envoy-original-host"
_FORWARDED_HOST = "x-forwarded-host"
_MISSING = "-"


def rewritten_path(
    request: Request, rewrite: PathRewrite, match: RouteMatch, context: CallContext
) -> str | None:
    """The new `:path`, with the query as it was; None when nothing would be left of the path, or
    what matched is not in it: Envoy then leaves it as it is."""
    path = request.path
    bare = without_query(path)
    match rewrite:
        case PrefixRewrite(text):
            matched = match.matched(bare)
            new = "" if matched is None else f"{text}{bare[len(matched) :]}"
        case RegexRewrite(substitution):
            new = substitution.apply(bare)
        case TemplateRewrite(template_rewrite):
            variables = None if match.template is None else match.template.variables(bare)
            new = bare if variables is None else template_rewrite.apply(variables)
        case FormatRewrite(text):
            new = text.render(Values(context, request), _MISSING)
        case _:
            assert_never(rewrite)
    return new + path[len(bare) :] if new else None


def rewrite_path(
    request: Request, rewrite: PathRewrite, match: RouteMatch, context: CallContext
) -> Request:
    """The request with its new path; the old one is told upstream."""
    path = rewritten_path(request, rewrite, match, context)
    if path is None:
        return request
    headers = request.headers.set(ORIGINAL_PATH, request.path)
    return replace(request, path=path, headers=headers)


def rewrite_host(
    request: Request,
    rewrite: HostRewrite,
    append_x_forwarded_host: bool,
    context: CallContext,
    endpoint: str = "",
) -> Request:
    """The request with its new authority; `endpoint` is the host name of the chosen endpoint."""
    match rewrite:
        case HostLiteral(text):
            host = text
        case HostFromHeader(name):
            host = (request.field(name) or ("",))[0]
        case HostFromPath(substitution):
            host = substitution.apply(without_query(request.path))
        case HostFormat(text):
            host = text.render(Values(context, request), _MISSING)
        case HostOfEndpoint():
            host = endpoint
        case _:
            assert_never(rewrite)
    return with_authority(request, host, append_x_forwarded_host) if host else request


def with_authority(request: Request, host: str, append_x_forwarded_host: bool) -> Request:
    """Envoy, Http::Utility::updateAuthority."""
    headers = request.headers
    before = request.authority
    if append_x_forwarded_host and before:
        known = ",".join(headers.values(_FORWARDED_HOST))
        if not known:
            headers = headers.set(_FORWARDED_HOST, before)
        elif known.rsplit(",", 1)[-1] != before:
            headers = headers.set(_FORWARDED_HOST, f"{known},{before}")
    if before:
        headers = headers.set(ORIGINAL_HOST, before)
    return replace(request, authority=host, headers=headers)
