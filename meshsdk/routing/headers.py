"""Header mutations of a route in their order, for requests and for responses."""

from collections.abc import Callable

from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Response
from meshsdk.resources.format_values import Values
from meshsdk.resources.header_mutations import ONE_LINE_OF_RESPONSES, HeaderMutations
from meshsdk.resources.metadata import Metadata
from meshsdk.resources.substitution_format import Format

_VIA_UPSTREAM = "via_upstream"
_ONLY_WITH_A_BODY = frozenset({"content-type", "content-length"})
_OF_THE_BODY = ("content-type", "content-length", "grpc-status", "grpc-message")


def in_order(
    levels: tuple[HeaderMutations, ...], most_specific_wins: bool
) -> tuple[HeaderMutations, ...]:
    """`levels` from the most specific (weighted cluster) to the least (route configuration), in
    the order in which they are applied: the last one has the last word."""
    present = tuple(level for level in levels if level)
    return present[::-1] if most_specific_wins else present


def mutate_request(
    request: Request,
    levels: tuple[HeaderMutations, ...],
    context: CallContext,
    route_metadata: Metadata,
    virtual_host_metadata: Metadata,
) -> Request:
    """The request with every level's mutations."""
    for level in levels:

        def render(text: Format, left: Headers, request: Request = request) -> str:
            return text.render(
                Values(
                    context,
                    request.with_headers(left),
                    None,
                    route_metadata,
                    virtual_host_metadata,
                )
            )

        headers = level.apply(request.headers, render)
        if headers is not request.headers:
            request = request.with_headers(headers)
    return request


def mutate_response(
    response: Response,
    levels: tuple[HeaderMutations, ...],
    request: Request,
    context: CallContext,
    route_metadata: Metadata,
    virtual_host_metadata: Metadata,
) -> Response:
    """The response with every level's mutations; `request` is what went upstream.

    A local reply gets them before what describes its body: such a field stays what a mutation
    made it, but for gRPC's own (Envoy, Utility::prepareLocalReply).
    """
    is_local = context.details not in ("", _VIA_UPSTREAM)
    answer = response.headers
    if is_local:
        response = response.with_headers(answer.without(*_OF_THE_BODY))
    for level in levels:

        def render(text: Format, left: Headers, response: Response = response) -> str:
            return text.render(
                Values(
                    context,
                    request,
                    response.with_headers(left),
                    route_metadata,
                    virtual_host_metadata,
                    has_code=not is_local,
                )
            )

        headers = level.apply(response.headers, render, ONE_LINE_OF_RESPONSES)
        if headers is not response.headers:
            response = response.with_headers(headers)
    return response if not is_local else response.with_headers(_described(response.headers, answer))


def modify_local_reply(response: Response, modify: Callable[[Headers], Headers]) -> Response:
    """A local reply with a change of its fields, made as above before the body's are there."""
    answer = response.headers
    return response.with_headers(_described(modify(answer.without(*_OF_THE_BODY)), answer))


def _described(headers: Headers, answer: Headers) -> Headers:
    """The mutated fields with those of the local reply's body put back."""
    is_grpc = (answer.get("content-type") or "").startswith("application/grpc")
    for name in _OF_THE_BODY:
        value = answer.get(name)
        if value is None:
            if name in _ONLY_WITH_A_BODY:
                headers = headers.without(name)
            continue
        if name == "content-length" or (is_grpc and name == "content-type"):
            headers = headers.set(name, value)
        elif name not in headers:
            headers = headers.add(name, value)
    return headers
