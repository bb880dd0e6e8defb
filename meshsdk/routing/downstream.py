"""What the connection manager does to an answer on its way to the caller.

Source: Envoy, ConnectionManagerUtility::mutateResponseHeaders.
"""

from typing import Final

from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Response
from meshsdk.resources.hcm_options import HcmOptions, ServerHeader

_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)
_REQUEST_ID: Final = "x-request-id"


def finish_response(
    response: Response, request: Request, options: HcmOptions, *, names_server: bool = True
) -> Response:
    """The answer less hop-by-hop fields, with `server`, `via` and the request's ID as configured.

    `request` is the canonical one. A switch of protocols keeps its own fields. `names_server`
    False leaves `server` to the application's own server, which would send a second one.
    """
    before = response.headers
    headers = before
    if response.status != 101 and headers.has_any(_HOP_BY_HOP):
        headers = headers.without(*_HOP_BY_HOP)
    if options.always_set_request_id_in_response:
        sent = request.headers.get(_REQUEST_ID)
        if sent is not None:
            headers = headers.set(_REQUEST_ID, sent)
    if options.via:
        headers = _appended(headers, options.via)
    if names_server:
        headers = _server(headers, options)
    return response if headers is before else response.with_headers(headers)


def with_via(response: Response, options: HcmOptions) -> Response:
    """An answer with the `via` of the connection manager."""
    if not options.via:
        return response
    return response.with_headers(_appended(response.headers, options.via))


def _appended(headers: Headers, via: str) -> Headers:
    return headers.set("via", ", ".join((*filter(None, headers.values("via")), via)))


def _server(headers: Headers, options: HcmOptions) -> Headers:
    match options.server_header_transformation:
        case ServerHeader.PASS_THROUGH:
            return headers
        case ServerHeader.APPEND_IF_ABSENT if "server" in headers:
            return headers
        case _:
            return headers.set("server", options.server_name)
