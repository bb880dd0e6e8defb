"""One ADS stream over grpcio: the I/O half of the machine in `meshsdk/xds/`.

It makes no thread of its own and decides nothing; who iterates it owns the thread.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from queue import SimpleQueue
from typing import Any, TypeAlias

import grpc

from meshsdk.errors import ConfigError
from meshsdk.wire.ads_codec import METHODS, NODE, SERVICE, decode_response, encode_request
from meshsdk.wire.json_form import from_json
from meshsdk.xds.messages import DiscoveryRequest, StreamEnded, StreamEvent, Variant

CallMetadata: TypeAlias = Callable[[], Iterable[tuple[str, str]]]
"""Asked for each stream: a bearer token's file may have changed."""


def no_metadata() -> Iterable[tuple[str, str]]:
    """Call metadata of a control plane that wants none."""
    return ()


class AdsTransport:
    """Opens ADS streams on one channel. The channel stays the caller's, who closes it."""

    def __init__(
        self,
        channel: grpc.Channel,
        variant: Variant,
        node: Mapping[str, object],
        metadata: CallMetadata = no_metadata,
    ) -> None:
        """`node`: `config.core.v3.Node` in proto-JSON; ConfigError when it is none."""
        self._variant: Variant = variant
        self._node = from_json(NODE, node, "node")
        self._metadata = metadata
        # grpc has no types; bytes in, bytes out.
        untyped: Any = channel
        self._call: Any = untyped.stream_stream(f"/{SERVICE}/{METHODS[variant]}", None, None)

    def open(self) -> "AdsStream":
        """A new stream; its first event says whether the server took it. Does not block.

        What `metadata` raises (an unreadable token) is raised here.
        """
        requests: SimpleQueue[bytes | None] = SimpleQueue()
        call = self._call(iter(requests.get, None), metadata=tuple(self._metadata()))

        def encode(request: DiscoveryRequest) -> bytes:
            return encode_request(request, self._variant, self._node)

        return AdsStream(call, requests, encode, self._variant)


class AdsStream:
    """A stream. `send` and `close` may be called from any thread, at any time."""

    def __init__(
        self,
        call: Any,
        requests: "SimpleQueue[bytes | None]",
        encode: Callable[[DiscoveryRequest], bytes],
        variant: Variant,
    ) -> None:
        self._call = call
        self._requests = requests
        self._encode = encode
        self._variant: Variant = variant

    def send(self, request: DiscoveryRequest) -> None:
        """Queue a request. On a stream that has ended it goes nowhere: the events say so."""
        self._requests.put(self._encode(request))

    def close(self) -> None:
        """End the stream promptly; a blocked iteration gets StreamEnded CANCELLED."""
        self._call.cancel()
        self._requests.put(None)

    def __iter__(self) -> Iterator[StreamEvent]:
        """Block for events; the last one is StreamEnded. To be iterated once, by one thread."""
        try:
            for raw in self._call:
                yield decode_response(raw, self._variant)
            ended = StreamEnded("OK")
        except grpc.RpcError as error:
            ended = _ended(error)
        except ConfigError as error:
            ended = StreamEnded("INTERNAL", f"the response cannot be read: {error}")
        finally:
            # grpcio's own thread waits for the next request; let it go.
            self.close()
        yield ended


def _ended(error: Any) -> StreamEnded:
    return StreamEnded(error.code().name, error.details() or "")
