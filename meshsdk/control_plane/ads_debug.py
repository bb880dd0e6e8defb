"""Debug pages over xDS: the type `istio.io/debug`, the name is the page (FEED.md 1.15)."""

from collections.abc import Callable, Iterator
from typing import Final

from meshsdk.wire.ads_codec import EncodedResource, encode_response
from meshsdk.wire.grpc_server import ServerCall
from meshsdk.xds.messages import DiscoveryRequest, Variant

DEBUG: Final = "istio.io/debug"


def debug_pages(
    request: DiscoveryRequest,
    variant: Variant,
    pages: Callable[[str, ServerCall], str],
    call: ServerCall,
) -> Iterator[bytes]:
    """The answer to a request of that type; an ACK gets none. (istiod ends a delta stream that
    acknowledges, and answers an acknowledgement in state of the world, for ever.)"""
    if request.type_url != DEBUG or request.nonce:
        return
    names = request.subscribe if variant == "delta" else request.names
    if len(names) != 1:
        call.abort("INVALID_ARGUMENT", "exactly one debug request is required")
    text = pages(names[0], call)
    resource = EncodedResource(names[0], DEBUG, text.encode())
    yield encode_response(
        variant, DEBUG, version="1", nonce=f"debug-{names[0]}", resources=(resource,), removed=()
    )
