"""A control plane that plays a recorded stream of a real istiod to a real client, byte for byte.

It waits for the client request that means the same as the recorded one (type, names, nonce) and
then sends the responses that followed it. Between types the order of requests is free, as
recordings/README says; what the client never asks for holds up nothing else.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Self

from meshsdk.control_plane.ads_session import EXTENSION_CONFIG, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION
from meshsdk.wire.ads_codec import METHODS, SERVICE, NodeRequest, decode_request
from meshsdk.wire.grpc_server import GrpcServer, ServerCall
from meshsdk.xds.messages import DiscoveryRequest, Variant
from tests.recordings import Frame, stream

_BY_NAME: Final = (LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, EXTENSION_CONFIG)


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What of a request must be as recorded."""

    nonce: str
    subscribe: frozenset[str]
    unsubscribe: frozenset[str]
    names: frozenset[str]
    is_nack: bool

    @classmethod
    def of(cls, request: DiscoveryRequest, variant: Variant) -> Self:
        subscribe, names = frozenset(request.subscribe), frozenset(request.names)
        if request.type_url not in _BY_NAME:
            # An empty list and `*` are the same wildcard, in delta for a first request only.
            names -= {"*"}
            if variant == "delta" and not (request.nonce or request.unsubscribe or subscribe):
                subscribe = frozenset({"*"})
        is_nack = request.error is not None
        return cls(request.nonce, subscribe, frozenset(request.unsubscribe), names, is_nack)


@dataclass(slots=True)
class _Step:
    frame: Frame
    meaning: _Meaning | None
    """None for a response."""
    is_done: bool = False


class Playback:
    """One recorded stream being played, without I/O."""

    def __init__(self, frames: Sequence[Frame], variant: Variant) -> None:
        self._variant: Variant = variant
        self._steps = [
            _Step(frame, self._meaning(frame) if frame.direction == "out" else None)
            for frame in frames
            if frame.direction != "end"
        ]
        self._asked: set[str] = set()

    def take(self, request: DiscoveryRequest) -> str | None:
        """Take a request; what is wrong with it, None when it is a recorded one."""
        self._asked.add(request.type_url)
        meaning = _Meaning.of(request, self._variant)
        lane = [step for step in self._steps if step.frame.type_url == request.type_url]
        open_steps = [step for step in lane if step.meaning is not None and not step.is_done]
        for step in open_steps:
            if step.meaning == meaning:
                step.is_done = True
                return None
        expected = open_steps[0].meaning if open_steps else "nothing more"
        return f"{request.type_url}: expected {expected}, the client sent {meaning}"

    def due(self) -> Iterator[Frame]:
        """The responses that are to be sent now, in the recorded order."""
        blocked: set[str] = set()
        for step in self._steps:
            type_url = step.frame.type_url
            if step.is_done or type_url not in self._asked:
                continue
            if step.meaning is not None:
                blocked.add(type_url)
            elif type_url in blocked:
                return
            else:
                step.is_done = True
                yield step.frame

    @property
    def is_over(self) -> bool:
        """Every type that has responses has been played to its end, ACKs included."""
        answered = {step.frame.type_url for step in self._steps if step.meaning is None}
        return all(step.is_done for step in self._steps if step.frame.type_url in answered)

    def _meaning(self, frame: Frame) -> _Meaning:
        return _Meaning.of(decode_request(frame.raw, self._variant).request, self._variant)


@dataclass(eq=False)
class RecordedFeed:
    """A server on 127.0.0.1; every new stream plays the recording from its beginning."""

    frames: Sequence[Frame]
    variant: Variant
    received: list[NodeRequest] = field(default_factory=list[NodeRequest])
    """What clients sent, in order."""
    mismatches: list[str] = field(default_factory=list[str])
    """Requests that the recorded client did not make."""
    streams: int = 0
    port: int = field(init=False)

    @classmethod
    def of(cls, folder: str, node: str, variant: Variant) -> Self:
        """The recorded stream of a node, named as in `tests.recordings`."""
        return cls(stream(folder, node, variant), variant)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._playback: Playback | None = None
        self._server = GrpcServer(threads=8)
        streams = {METHODS[variant]: partial(self._serve, variant) for variant in METHODS}
        self._server.add(SERVICE, streams=streams)
        self.port = self._server.listen()

    @property
    def address(self) -> str:
        """For `Mesh.connect(server=...)`."""
        return f"127.0.0.1:{self.port}"

    @property
    def responses(self) -> int:
        """How many responses the whole recording has."""
        return sum(frame.direction == "in" for frame in self.frames)

    def wait_played(self, timeout: float = 10.0) -> bool:
        """Block until the newest stream has been played to its end; False after a mismatch."""

        def is_over() -> bool:
            playback = self._playback
            return bool(self.mismatches) or (playback is not None and playback.is_over)

        with self._changed:
            return self._changed.wait_for(is_over, timeout) and not self.mismatches

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def _serve(self, variant: Variant, raw: Iterator[bytes], call: ServerCall) -> Iterator[bytes]:
        if variant != self.variant:
            call.abort("UNIMPLEMENTED", f"the recording is {self.variant}")
        playback = Playback(self.frames, variant)
        with self._changed:
            self._playback = playback
            self.streams += 1
        for item in raw:
            request = decode_request(item, variant)
            with self._changed:
                self.received.append(request)
                problem = playback.take(request.request)
                if problem is not None:
                    self.mismatches.append(problem)
                due = [frame.raw for frame in playback.due()]
                self._changed.notify_all()
            if problem is not None:
                call.abort("INVALID_ARGUMENT", problem)
            yield from due
