"""Where a redirect route sends the caller. Source: Envoy, Http::Utility::newUri."""

from dataclasses import replace

from meshsdk.call.context import CallContext
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.resources.format_values import Values
from meshsdk.resources.route_match import RouteMatch
from meshsdk.resources.route_reply import DirectResponse, Redirect
from meshsdk.routing.rewrite import rewritten_path

_DETAILS = "direct_response"
_DEFAULT_PORTS = {"https": ":443", "http": ":80"}


def redirect_reply(
    request: Request, redirect: Redirect, match: RouteMatch, context: CallContext
) -> tuple[LocalReply, str]:
    """The answer of a redirect route, and the path that the request has from then on."""
    path = None
    if redirect.rewrite is not None:
        path = rewritten_path(request, redirect.rewrite, match, context)
    if path is not None:
        request = replace(request, path=path)
    location = location_of(request, redirect)
    answer = LocalReply(redirect.status, headers=(("location", location),), details=_DETAILS)
    return answer, request.path


def https_reply(request: Request) -> LocalReply:
    """The answer of a virtual host that requires TLS."""
    location = f"https://{request.authority}{request.path}"
    return LocalReply(301, headers=(("location", location),), details=_DETAILS)


def direct_reply(request: Request, direct: DirectResponse, context: CallContext) -> LocalReply:
    """The answer of a direct_response route; 201 and 3xx point at the request itself."""
    headers: tuple[tuple[str, str], ...] = ()
    if direct.status == 201 or 300 <= direct.status < 400:
        headers = (("location", f"{request.scheme}://{request.authority}{request.path}"),)
    body = direct.body
    form = direct.body_format
    if form is not None:
        values = Values(context, request, local_reply_body=body.decode("latin-1"))
        values.response = Response(direct.status)
        body = form.render(values).encode("latin-1", "replace")
        headers = (*headers, ("content-type", form.content_type))
    return LocalReply(direct.status, body, headers, details=_DETAILS)


def location_of(request: Request, redirect: Redirect) -> str:
    """The URI for a request whose path is rewritten already."""
    scheme = redirect.scheme or request.scheme
    port = f":{redirect.port}" if redirect.port else ""
    host = redirect.host or _host(request, scheme, port)
    path = redirect.path or request.path
    if redirect.path and "?" not in redirect.path:
        _, question, query = request.path.partition("?")
        path = f"{redirect.path}{question}{query}"
    if redirect.strip_query and "?" not in redirect.path:
        path = path.partition("?")[0]
    slash = "" if path.startswith("/") else "/"
    return f"{scheme}://{host}{port}{slash}{path}"


def _host(request: Request, scheme: str, port: str) -> str:
    """The request's host, less a port that is replaced or that the old scheme implied."""
    host = request.authority
    at = host.rfind(":")
    if at < 0 or host.rfind("]") > at:
        return host
    forwarded = request.headers.get("x-forwarded-proto") or ""
    implied = scheme != forwarded and host[at:] == _DEFAULT_PORTS.get(forwarded)
    return host[:at] if port or implied else host
