"""Header mutations of a route in their order, for requests and for responses."""

from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Response
from meshsdk.resources.format_commands import Values
from meshsdk.resources.header_mutations import HeaderMutations
from meshsdk.resources.metadata import Metadata
from meshsdk.resources.substitution_format import Format

_VIA_UPSTREAM = "via_upstream"


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
    """The response with every level's mutations; `request` is what went upstream."""
    is_local = context.details not in ("", _VIA_UPSTREAM)
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

        headers = level.apply(response.headers, render)
        if headers is not response.headers:
            response = response.with_headers(headers)
    return response
