"""One outbound call: its flow, its effects, and the response until its body has ended.

What blocking and awaiting callers have in common. A client library's adapter makes the nouns,
runs the call, and hands the pieces of the body on.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Generic, NoReturn, Protocol, TypeVar

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Attempt, BodyRead, Dialed, Effect, Flow
from meshsdk.call.headers import Headers, RawPair
from meshsdk.call.message import BodyEnd, Outcome, Request, Reset, Response
from meshsdk.clock import Clock
from meshsdk.errors import UsageError
from meshsdk.flow.drive import Fetcher, complete
from meshsdk.flow.select import Target
from meshsdk.runtime.feed import Feed
from meshsdk.runtime.publisher import Publisher
from meshsdk.upstream.aio import AsyncUpstream
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.connection import Connection
from meshsdk.upstream.exchange import BodyBroken, Exchange
from meshsdk.upstream.head import verbatim_head
from meshsdk.upstream.obtain import Lent
from meshsdk.upstream.pace import Pace
from meshsdk.upstream.pool import Origin
from meshsdk.upstream.steps import Ask
from meshsdk.upstream.sync import SyncUpstream
from meshsdk.upstream.timeouts import CallerTimeouts

C = TypeVar("C", bound=Connection)


class Member(Protocol):
    """What calls need of a `Mesh`, whoever keeps their connections."""

    @property
    def publisher(self) -> Publisher: ...
    @property
    def feed(self) -> Feed: ...
    @property
    def fetcher(self) -> Fetcher: ...

    def outbound(
        self,
        request: Request,
        target: Target,
        *,
        wait: float | None = None,
        observe: Callable[[CallContext], None] | None = None,
    ) -> Flow[None]:
        """The flow of a call; `wait` bounds the wait for configuration, in seconds."""
        ...


class Membership(Member, Protocol):
    """What HTTP calls need of a `Mesh`."""

    @property
    def sync_upstream(self) -> SyncUpstream: ...
    @property
    def async_upstream(self) -> AsyncUpstream: ...


@dataclass(slots=True, eq=False)
class Wanted:
    """What the application asked its client library for."""

    request: Request
    target: Target
    origin: Origin
    """For chains that end in tcp_proxy: how the application's own client would connect."""
    fields: list[RawPair]
    """All header fields as the application has them: what goes out verbatim through tcp_proxy."""
    body: RequestBody
    timeouts: CallerTimeouts


class Call:
    """The colourless part of a call. `context` is None until a listener was found."""

    __slots__ = ("_seen", "_undelivered", "beside", "context", "flow", "mesh", "wanted")

    def __init__(self, mesh: Membership, wanted: Wanted) -> None:
        self.mesh = mesh
        self.wanted = wanted
        self.context: CallContext | None = None
        self._undelivered: object = None
        self.beside: Hedges | None = None
        """Made when the first attempt may get company."""
        # Before the flow looks for the plan: one that comes in between then ends its wait at once.
        self._seen = mesh.publisher.plan
        self.flow = mesh.outbound(
            wanted.request, wanted.target, wait=wanted.timeouts.pool, observe=self._observe
        )

    def _observe(self, context: CallContext) -> None:
        self.context = context
        context.can_pace = True
        if not wanted_is_whole(self.wanted.body):
            self.wanted.body.on_outgrown(self._outgrown)

    def _outgrown(self) -> None:
        assert self.context is not None
        self.context.body_replayable = False

    # -- responses that nobody gets -----------------------------------------------------------

    def _sent(self, outcome: Outcome) -> Outcome:
        self._undelivered = outcome.body if isinstance(outcome, Response) else None
        return outcome

    def _settle(self, delivered: Outcome | Dialed) -> None:
        """Let go of all but what is delivered: a response before, attempts that still run."""
        if self.beside is not None:
            self.beside.settle(())
        if isinstance(delivered, Response) and delivered.body is self._undelivered:
            self._undelivered = None
        else:
            self._settle_response()

    def _settle_response(self) -> None:
        """Let go of a response that was not delivered."""
        exchange, self._undelivered = self._undelivered, None
        if isinstance(exchange, Exchange):
            exchange.dispose()

    def end_early(self) -> None:
        """The call ends without a delivery, or its body is not wanted: the flow lets go."""
        if self.beside is not None:
            self.beside.settle(())
        self.wanted.body.end_copies()
        exchange, self._undelivered = self._undelivered, None
        if isinstance(exchange, Exchange):
            exchange.abandon()
        self.flow.close()

    def take_whole(self, response: Response) -> bytes | None:
        """The whole body, where it is here already: then the call has ended. None: stream it."""
        body = response.body
        if isinstance(body, bytes):
            self.ended(len(body))
            return body
        if self.context is not None and self.context.response_rate:
            return None  # piece by piece, slowly
        whole = body.take_whole() if isinstance(body, Exchange) else None
        if whole is None:
            return None
        data, trailers = whole
        self.ended(len(data), trailers)
        return data

    def ended(
        self, sent: int, trailers: list[RawPair] | None = None, reset: Reset | None = None
    ) -> None:
        """The exchange is over."""
        self.wanted.body.end_copies()
        found = None if trailers is None else Headers.from_raw(trailers)
        complete(self.flow, BodyEnd(sent, self.wanted.body.pulled, found, reset))


class Hedges(Protocol):
    """Attempts of one call that run beside each other."""

    def settle(self, kept: Collection[Attempt]) -> None:
        """End every attempt that is not named. Blocks for nothing."""
        ...


class ResponseBody(Generic[C]):
    """The body of a delivered response. Its end, or `close`, ends the call."""

    __slots__ = ("_call", "_exchange", "_is_over", "_pace")

    def __init__(self, call: Call, exchange: Exchange[C] | None) -> None:
        assert exchange is not None
        self._call = call
        self._exchange = exchange
        self._is_over = False
        self._pace: Pace | None = None
        if call.context is not None:
            exchange.deadline = call.context.deadline
            if call.context.response_rate:
                self._pace = Pace(call.context.response_rate, exchange.ask.clock)

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        exchange = self._exchange
        trailers = exchange.http.trailers
        exchange.finish()
        self._call.ended(exchange.received, trailers)

    def _break(self, broken: BodyBroken) -> None:
        self._is_over = True
        self._exchange.abandon()
        self._call.ended(self._exchange.received, reset=broken.reset)

    def close(self) -> None:
        """Nobody reads on."""
        if not self._is_over:
            self._is_over = True
            self._exchange.abandon()
            self._call.end_early()


def wanted_is_whole(body: RequestBody) -> bool:
    """Whether a body is known from the start, so that it never outgrows its buffer."""
    return body.source is None and body.async_source is None


def refused(effect: Effect) -> NoReturn:
    """An effect that is not for outbound calls."""
    raise UsageError(f"an outbound call cannot perform {type(effect).__name__}")


def body_read(body: RequestBody, limit: int) -> BodyRead:
    """The reply to ReadBody once enough was pulled."""
    data = body.read_whole()
    return BodyRead(data[:limit], body.exhausted and len(data) <= limit)


def ask_over(wanted: Wanted, lent: Lent[C], clock: Clock) -> Ask[C]:
    """The application's request as it goes over a raw connection, untouched by the mesh.

    HeadError for one that cannot be sent.
    """
    request = wanted.request
    head = verbatim_head(
        request.method.encode("latin-1"), request.path.encode("latin-1"), wanted.fields
    )
    connection = lent.connection
    assert connection is not None
    return Ask(
        lent.pool,
        request.method,
        head,
        wanted.body,
        wanted.timeouts,
        clock,
        connection.lease.generation,
        is_verbatim=True,
    )
