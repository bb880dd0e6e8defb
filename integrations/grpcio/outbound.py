"""One outbound call without a colour: its flow, its attempts, and what their endings mean."""

from dataclasses import dataclass
from typing import Final, Protocol

import grpc

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Attempt, BodyRead, Effect, Flow, Mirror, Reply, Send
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, Outcome, Reset, ResetReason, Response
from meshsdk.clock import Clock
from meshsdk.errors import MeshError, UsageError
from meshsdk.flow.drive import complete
from meshsdk.flow.select import Target
from meshsdk.integrations.grpcio.api import (
    Deserializer,
    Ended,
    Kind,
    Metadata,
    Serializer,
)
from meshsdk.integrations.grpcio.nouns import (
    OK_TRAILERS,
    Finished,
    error_of,
    error_of_exception,
    error_of_reset,
    fields_as_metadata,
    metadata_of,
    outcome_of_error,
    request_of,
    trailers_of,
)
from meshsdk.upstream.calls import Member
from meshsdk.upstream.endpoint_transports import EndpointTransport, EndpointTransports

_EARLY: Final = 1e-3
"""Seconds by which gRPC's timers may be ahead."""
_PUSHBACK: Final = "grpc-retry-pushback-ms"
_UNREADY: Final = frozenset({"UF", "UH", "NC", "UC", "UR"})
"""Flags of answers that a call which waits for readiness does not take for one."""


class GrpcMesh(Member, Protocol):
    """What gRPC calls need of a `Mesh`."""

    @property
    def endpoint_transports(self) -> EndpointTransports: ...

    def start(self) -> None:
        """Start threads, unless they run."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one channel, for all of its calls."""

    mesh: GrpcMesh
    target: Target
    authority: str
    user_agent: str
    clock: Clock


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service, as the generated code registers it."""

    path: str
    kind: Kind
    serialize: Serializer | None
    deserialize: Deserializer | None


@dataclass(slots=True)
class CallOptions:
    """What the application gave with one call."""

    metadata: Metadata | None
    credentials: object
    wait_for_ready: bool | None
    compression: object


class Outbound:
    """The colourless part of a call. Its drivers perform effects and tell it of endings."""

    __slots__ = (
        "context",
        "deadline",
        "flow",
        "method",
        "options",
        "pushback",
        "seen",
        "settings",
    )

    def __init__(
        self, settings: Settings, method: Method, timeout: float | None, options: CallOptions
    ) -> None:
        self.settings = settings
        self.method = method
        self.options = options
        self.deadline = None if timeout is None else settings.clock.monotonic() + timeout
        """Monotonic seconds of the application's own timeout; None: it set none."""
        self.context: CallContext | None = None
        self.pushback: float | None = None
        """Seconds that the last answer asked us to wait before a retry."""
        self.flow: Flow[None]
        self.begin()

    def begin(self) -> None:
        """A flow from the start: at first, and for each further look of a call that waits for
        readiness."""
        settings, mesh = self.settings, self.settings.mesh
        left = self.remaining()
        request = request_of(
            self.method.path,
            settings.authority,
            self.options.metadata,
            settings.user_agent,
            left,
        )
        self.seen = mesh.publisher.plan
        self.context = None
        self.flow = mesh.outbound(request, settings.target, wait=left, observe=self._observe)

    def _observe(self, context: CallContext) -> None:
        self.context = context

    # -- time -------------------------------------------------------------------------------

    def remaining(self) -> float | None:
        """Seconds of the application's timeout; None: it set none."""
        deadline = self.deadline
        return None if deadline is None else deadline - self.settings.clock.monotonic()

    def is_out_of_time(self) -> bool:
        """Whether the application's own timeout has passed."""
        left = self.remaining()
        return left is not None and left <= 0.0

    def timeout_of(self, send: Send) -> float | None:
        """Seconds that an attempt has whose answer is one message."""
        timeout, left = send.timeout, self.remaining()
        if send.idle_timeout is not None and (timeout is None or send.idle_timeout < timeout):
            timeout = send.idle_timeout
        if left is not None and (timeout is None or left < timeout):
            timeout = left
        return timeout

    def timeout_of_stream(self) -> float | None:
        """Seconds that a stream has as a whole, beside the limits of its beginning."""
        left, context = self.remaining(), self.context
        until = None if context is None else context.deadline
        if until is None:
            return left
        route = max(0.0, until - self.settings.clock.monotonic())
        return route if left is None else min(left, route)

    # -- attempts ---------------------------------------------------------------------------

    def metadata_of(self, attempt: Attempt) -> Metadata:
        """What an attempt sends beside what gRPC writes itself."""
        return metadata_of(attempt.request.headers.pairs)

    def outcome_of(
        self, send: Send, error: Ended, transport: EndpointTransport, started: float
    ) -> Outcome | None:
        """What the failure of an attempt means for the flow; None: the application's own time is up,
        or it has cancelled, and nobody asks any more."""
        code = error.code()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            if self.is_out_of_time():
                return None
            ran = self.settings.clock.monotonic() - started
            if ran >= self._limit(send) - _EARLY or self._is_past_route():
                return self.expired(send)
        failure = transport.failure
        outcome = outcome_of_error(error, send.attempt, failure)
        if isinstance(outcome, Response):
            self._note_pushback(outcome.headers, error)
        return outcome

    def _is_past_route(self) -> bool:
        """Whether the route's time is up: a stream that began late had less than its limit."""
        until = None if self.context is None else self.context.deadline
        if until is None or (self.deadline is not None and self.deadline <= until):
            return False
        return self.settings.clock.monotonic() >= until - _EARLY

    def _limit(self, send: Send) -> float:
        limits = [each for each in (send.timeout, send.idle_timeout) if each is not None]
        return min(limits) if limits else float("inf")

    def expired(self, send: Send) -> Reset:
        """A limit of the attempt has passed."""
        if send.idle_timeout is not None and send.idle_timeout <= self._limit(send):
            reason = ResetReason.PER_TRY_IDLE_TIMEOUT
        elif send.reset_reason_timeout:
            reason = ResetReason.PER_TRY_TIMEOUT
        else:
            reason = ResetReason.TIMEOUT
        return Reset(reason, attempt=send.attempt)

    def _note_pushback(self, headers: Headers, error: Ended) -> None:
        """gRFC A6: the server says when to come back; a negative number, or none, is never."""
        value = headers.get(_PUSHBACK)
        if value is None:
            return
        if value.isdecimal():
            self.pushback = int(value) / 1000
        elif self.context is not None:
            self.context.body_replayable = False

    def take_pushback(self, seconds: float) -> float:
        """Seconds to sleep before the next attempt, where policy wants `seconds`."""
        pushback, self.pushback = self.pushback, None
        if pushback is None:
            return seconds
        left = self.timeout_of_stream()
        return pushback if left is None else min(pushback, max(0.0, left))

    def request_read(self, limit: int, body: bytes | None) -> BodyRead:
        """The reply to ReadBody. UsageError for a stream, whose end may wait for an answer."""
        if body is None:
            raise UsageError("a filter that reads the body of a streamed gRPC request is not built")
        framed = b"\0" + len(body).to_bytes(4, "big") + body
        return BodyRead(framed[:limit], len(framed) <= limit)

    def refuse(self, effect: Effect) -> Reply:
        """The reply to an effect that is not built for gRPC calls."""
        match effect:
            case Mirror():
                return None
            case _:
                raise UsageError(f"a gRPC call cannot perform {type(effect).__name__}")

    # -- ends -------------------------------------------------------------------------------

    def is_unready(self) -> bool:
        """Whether the answer only says that no host can be reached, to a call that waits for one."""
        context = self.context
        return (
            bool(self.options.wait_for_ready)
            and context is not None
            and not _UNREADY.isdisjoint(context.flags)
            and not self.is_out_of_time()
        )

    def drop(self) -> None:
        """Nobody waits for the flow any more: it releases what it holds."""
        self.flow.close()

    def ended_well(self) -> None:
        """The exchange is over, and gRPC's status was OK."""
        complete(self.flow, _WELL)

    def ended(self, end: Ended | None, reset: Reset | None = None) -> None:
        """The exchange is over: by this status, or broken off."""
        trailers = None
        if end is not None:
            trailers = trailers_of(end.code(), end.details(), end.trailing_metadata())
        complete(self.flow, BodyEnd(trailers=trailers, reset=reset))

    def error_of(self, outcome: Response | Reset) -> Exception | None:
        """What the application gets for an answer of the mesh's own; None for one that says OK."""
        return error_of_reset(outcome) if isinstance(outcome, Reset) else error_of(outcome)

    def error_of_exception(self, error: MeshError) -> Exception:
        """What the application gets for an error of the library."""
        return error_of_exception(error, out_of_time=self.is_out_of_time())


_WELL: Final = BodyEnd(trailers=OK_TRAILERS)


def finished(outcome: Response) -> Finished | None:
    """The attempt behind a delivered answer; None where the mesh answers itself."""
    body = outcome.body
    return body if isinstance(body, Finished) else None


def changed_metadata(outcome: Response, body: Finished) -> Metadata | None:
    """Initial metadata that the mesh has changed; None where it is the server's own."""
    if body.sent is None or outcome.headers is body.sent:
        return None
    return fields_as_metadata(outcome.headers)
