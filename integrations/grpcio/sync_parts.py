"""What all calls of one blocking channel share."""

from collections.abc import Callable
from typing import Final, cast

from meshsdk.call.effects import Mirror
from meshsdk.integrations.grpcio.api import Ended, Metadata, UnaryCallable
from meshsdk.integrations.grpcio.endpoints import Endpoints
from meshsdk.integrations.grpcio.nouns import metadata_of
from meshsdk.integrations.grpcio.outbound import Method, Settings
from meshsdk.runtime.background import Background
from meshsdk.runtime.timers import Timers

_SIDE_CALLS: Final = 256
"""Of futures and streams that wait, at once."""


class SentCall:
    """A call that has ended, with the initial metadata that the mesh made of the server's."""

    def __init__(self, call: Ended, initial: Metadata) -> None:
        self._call = call
        self._initial = initial

    def initial_metadata(self) -> Metadata:
        """As the mesh gives it to the application."""
        return self._initial

    def __getattr__(self, name: str) -> object:
        value: object = getattr(self._call, name)
        return value


class ChannelParts:
    """Of one channel."""

    def __init__(self, settings: Settings, endpoints: Endpoints, timers: Timers) -> None:
        self.settings = settings
        self.endpoints = endpoints
        self.timers = timers
        self.background = Background(_SIDE_CALLS)

    def soon(self, what: Callable[[], None]) -> Callable[[], None]:
        """What does that on a thread of ours, whoever calls it."""

        def ask() -> None:
            self.timers.after(0.0, what)

        return ask

    def mirror(self, mirror: Mirror, method: Method, request: object) -> None:
        """Send a shadow of a call with one request; its answer is dropped."""
        attempt = mirror.attempt
        endpoint = self.endpoints.of(attempt)
        if method.kind.endswith("stream"):
            self.endpoints.release(endpoint)  # its answer would have to be read
            return
        shadow = cast(
            "UnaryCallable",
            endpoint.method(
                method.kind, attempt.request.path, method.serialize, method.deserialize
            ),
        )
        metadata = metadata_of(attempt.request.headers.pairs)
        call = shadow.future(request, mirror.timeout, metadata, None, None, None)
        call.add_done_callback(lambda _: self.endpoints.release(endpoint))

    def serialized(self, method: Method, request: object) -> bytes | None:
        """The one request of a call; None for a stream of them."""
        if method.kind.startswith("stream"):
            return None
        found = request if method.serialize is None else method.serialize(request)
        assert isinstance(found, bytes)
        return found
