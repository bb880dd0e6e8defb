"""Scripted upstreams: what answers the attempts of a simulated call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from meshsdk.call.effects import Attempt
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, Outcome, Reset, ResetReason, Response
from meshsdk.cli.check.handshake import Identities, handshake
from meshsdk.cli.check.loop import EventLoop, Timer
from meshsdk.flow.cluster_plan import ClusterPlan

Step = Mapping[str, object]
DEAD_PORT = 20999
"""Nothing ever listens here."""
_DEFAULT_BODY = b"ok"
_HANG = 30.0
_HTTP2_REFUSED_STREAM = 7


@dataclass(slots=True, eq=False)
class Seen:
    """One request as it arrived at an upstream."""

    attempt: Attempt
    body: bytes
    mirrored: bool = False


@dataclass(slots=True, eq=False)
class Body:
    """What `Response.body` of a simulated upstream is."""

    data: bytes
    trailers: Headers | None = None
    reset: Reset | None = None

    def end(self) -> BodyEnd:
        """How the exchange ends once the body was read."""
        return BodyEnd(len(self.data), 0, self.trailers, self.reset)


@dataclass(slots=True, eq=False)
class Running:
    """An attempt on its way."""

    attempt: Attempt
    done: Callable[[Outcome], None]
    timers: list[Timer] = field(default_factory=list[Timer])
    over: bool = False
    when_over: Callable[[], None] | None = None

    def finish(self, outcome: Outcome) -> None:
        """Report once."""
        if not self.over:
            self.cancel()
            self.done(outcome)

    def cancel(self) -> None:
        """Let go of it: nothing more is reported."""
        self.over = True
        for timer in self.timers:
            timer.cancel()
        when_over, self.when_over = self.when_over, None
        if when_over is not None:
            when_over()


class Places:
    """Places on HTTP/1.1 connections: what a pool under circuit breakers does with requests."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[ClusterPlan, Attempt, Running, Callable[[], None]]] = []

    def enter(self, attempt: Attempt, running: Running, go: Callable[[], None]) -> None:
        """Let a request onto a connection now, later, or never (OVERFLOW)."""
        assert isinstance(attempt.cluster, ClusterPlan)
        if _speaks_h2(attempt):
            go()
            return
        if self._take(attempt.cluster, attempt, running):
            go()
            return
        breakers = attempt.cluster.breakers.default
        if breakers.try_pending():
            self._waiting.append((attempt.cluster, attempt, running, go))
            running.when_over = lambda: self._leave(running)
            return
        overflow = Reset(ResetReason.OVERFLOW, request_sent=False, attempt=attempt)
        running.timers.append(self._loop.call_later(0.0, lambda: running.finish(overflow)))

    def _take(self, cluster: ClusterPlan, attempt: Attempt, running: Running) -> bool:
        state = attempt.host.state
        breakers = cluster.breakers.default
        if not breakers.try_connection(first_to_host=state.active_connections == 0):
            return False
        state.active_connections += 1

        def give_back() -> None:
            state.active_connections -= 1
            breakers.end_connection()
            self._next()

        running.when_over = give_back
        return True

    def _next(self) -> None:
        for i, (cluster, attempt, running, go) in enumerate(self._waiting):
            if self._take(cluster, attempt, running):
                del self._waiting[i]
                cluster.breakers.default.end_pending()
                go()
                return

    def _leave(self, running: Running) -> None:
        for i, (cluster, _, waiting, _) in enumerate(self._waiting):
            if waiting is running:
                del self._waiting[i]
                cluster.breakers.default.end_pending()
                return


class ScriptedUpstream:
    """Answers by script: step by step for each request, the last step for ever."""

    def __init__(self, loop: EventLoop, identities: Identities) -> None:
        self._loop = loop
        self._identities = identities
        self._places = Places(loop)
        self._script: Sequence[Step] = ({},)
        self._by_endpoint: Mapping[str, Sequence[Step]] = {}
        self._total = 0
        self._counts: dict[str, int] = {}
        self.seen: list[Seen] = []

    def begin(self, request: Mapping[str, object], keep_counts: bool = False) -> None:
        """Take over the scripts of a request."""
        self._script = cast("Sequence[Step]", request.get("upstream_script") or ({},))
        self._by_endpoint = cast(
            "Mapping[str, Sequence[Step]]", request.get("upstream_script_by_endpoint") or {}
        )
        if not keep_counts:
            self._total = 0
            self._counts = {}
        self.seen = []

    def send(self, attempt: Attempt, body: bytes, done: Callable[[Outcome], None]) -> Running:
        """Start an attempt; `done` is called in simulated time unless it is cancelled."""
        running = Running(attempt, done)
        address = attempt.host.endpoint.address
        if address.port == DEAD_PORT:
            refused = Reset(
                ResetReason.CONNECT_FAILURE,
                "delayed connect error: Connection refused",
                request_sent=False,
                attempt=attempt,
            )
            running.timers.append(self._loop.call_later(0.0, lambda: running.finish(refused)))
            return running
        failed = handshake(attempt, self._identities)
        if failed is not None:
            running.timers.append(
                self._loop.call_later(failed.seconds, lambda: running.finish(failed.reset))
            )
            return running
        self._places.enter(attempt, running, lambda: self._arrive(attempt, body, running))
        return running

    def _arrive(self, attempt: Attempt, body: bytes, running: Running) -> None:
        """The request is on a connection: the script answers."""
        self.seen.append(Seen(attempt, body))
        step = self._step(str(attempt.host.endpoint.address))
        delay = float(cast("float", step.get("delay_ms", 0))) / 1000.0
        action = step.get("action", "respond")
        if action == "hang":
            delay += _HANG
        running.timers.append(
            self._loop.call_later(delay, lambda: running.finish(self._outcome(attempt, step)))
        )

    def mirror(self, attempt: Attempt, body: bytes) -> None:
        """Log a shadow request."""
        self.seen.append(Seen(attempt, body, mirrored=True))

    def _step(self, label: str) -> Step:
        if label in self._by_endpoint:
            steps = self._by_endpoint[label]
            index = self._counts.get(label, 0)
        else:
            steps, index = self._script, self._total
            self._total += 1
        self._counts[label] = self._counts.get(label, 0) + 1
        return steps[min(index, len(steps) - 1)]

    def _outcome(self, attempt: Attempt, step: Step) -> Outcome:
        h2 = _speaks_h2(attempt)
        match step.get("action", "respond"):
            case "refuse_stream" if h2:
                return Reset(ResetReason.REFUSED_STREAM, request_sent=False, attempt=attempt)
            case "reset" if h2:
                if step.get("h2_error", 2) == _HTTP2_REFUSED_STREAM:
                    return Reset(ResetReason.REFUSED_STREAM, request_sent=False, attempt=attempt)
                return Reset(ResetReason.REMOTE_RESET, attempt=attempt)
            case "reset" | "close" | "hang":
                return Reset(ResetReason.CONNECTION_TERMINATION, attempt=attempt)
            case _:
                return self._response(attempt, step, h2)

    def _response(self, attempt: Attempt, step: Step, h2: bool) -> Response:
        status = int(cast("int", step.get("status", 200)))
        pairs = cast("Sequence[tuple[str, str]]", step.get("headers", ()))
        headers = Headers.of((name, value if h2 else value.strip(" \t")) for name, value in pairs)
        body = str(step.get("body", _DEFAULT_BODY.decode())).encode()
        if attempt.request.method == "HEAD" or status in (204, 304):
            body = b""
        trailers: Headers | None = None
        if h2 and step.get("trailers_only"):
            return Response(status, headers, Body(b""), trailers=headers, attempt=attempt)
        if h2 and step.get("trailers"):
            trailers = Headers.of(cast("Sequence[tuple[str, str]]", step["trailers"]))
        if not h2:
            headers = headers.without("content-length").add("content-length", str(len(body)))
        if step.get("action") == "reset_after_headers":
            cut = Reset(ResetReason.PROTOCOL_ERROR, body_started=True, attempt=attempt)
            return Response(status, headers, Body(b"partial", reset=cut), attempt=attempt)
        return Response(status, headers, Body(body, trailers), attempt=attempt)


def _speaks_h2(attempt: Attempt) -> bool:
    assert isinstance(attempt.cluster, ClusterPlan)
    protocol = attempt.cluster.cluster.http.protocol
    return protocol == "h2" or (protocol == "downstream" and attempt.request.protocol == "h2")
