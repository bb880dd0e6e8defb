"""Given values for the tests of traffic filters, and what drives their flows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.context import CallContext
from meshsdk.call.effects import BodyRead, Effect, ReadBody, Sleep
from meshsdk.call.filter import Continue, HttpFilter, Verdict
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.clock import seeded
from meshsdk.config.extension import Extensions, HttpFilterExtension, Registry
from meshsdk.config.reader import Reader
from meshsdk.filters import HTTP_FILTERS, NETWORK_FILTERS
from meshsdk.resources.route_facts import NO_FACTS, RouteFacts

Config = Mapping[str, object]
ALWAYS: Config = {"numerator": 100}
RUNTIME_ALWAYS: Config = {"default_value": ALWAYS}
HERE = Address("127.0.0.1", 8080)


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


def extensions(compat: str = "envoy", runtime: Mapping[str, object] | None = None) -> Extensions:
    """Registries of their own, so that no live state is shared between tests."""
    return Extensions(
        Registry("HTTP filter", HTTP_FILTERS),
        Registry("network filter", NETWORK_FILTERS),
        Registry("lb", ()),
        compat="envoy" if compat == "envoy" else "strict",
        runtime=runtime,
    )


@dataclass
class Calls:
    """Calls through one filter, one after the other."""

    http_filter: HttpFilter
    clock: Clock = field(default_factory=Clock)
    route: RouteFacts | None = NO_FACTS
    connection: Connection = field(
        default_factory=lambda: Connection(HERE, Peer(connection=Address("10.0.0.1", 4000)))
    )
    body: bytes = b""
    slept: list[float] = field(default_factory=list[float])
    context: CallContext | None = None

    def verdict(
        self,
        method: str = "GET",
        path: str = "/",
        headers: Sequence[tuple[str, str]] = (),
        authority: str = "a.com",
    ) -> Verdict:
        """What the filter decides; its flow is driven to its end."""
        has_body = bool(self.body)
        request = Request(method, authority, path, Headers(headers), has_body=has_body)
        self.context = context = CallContext(self.clock, seeded(1), self.connection)
        context.start = self.clock.now
        context.route = self.route
        context.cluster = "backend" if self.route is not None else ""
        context.remote = self.connection.peer.connection
        context.forwarded = request
        step = self.http_filter.on_request(request, context)
        if isinstance(step, Continue | LocalReply):
            return step
        try:
            effect = next(step)
            while True:
                effect = step.send(self._perform(effect))
        except StopIteration as stop:
            found: Verdict = stop.value
            return found

    def _perform(self, effect: Effect) -> BodyRead | None:
        if isinstance(effect, Sleep):
            self.slept.append(effect.seconds)
            self.clock.now += effect.seconds
            return None
        assert isinstance(effect, ReadBody)
        return BodyRead(self.body[: effect.limit], len(self.body) <= effect.limit)

    def passed(
        self,
        method: str = "GET",
        path: str = "/",
        headers: Sequence[tuple[str, str]] = (),
        authority: str = "a.com",
    ) -> Request:
        """The request as it goes on."""
        found = self.verdict(method, path, headers, authority)
        assert isinstance(found, Continue)
        return found.request

    def status(self, headers: Sequence[tuple[str, str]] = (), path: str = "/") -> int:
        """The status of the filter's own answer; 0: the call goes on."""
        found = self.verdict(headers=headers, path=path)
        return found.status if isinstance(found, LocalReply) else 0

    def answered(
        self,
        response: Response,
        headers: Sequence[tuple[str, str]] = (),
        method: str = "GET",
    ) -> Response:
        """The answer to a call that went on, as the filter leaves it."""
        found = self.verdict(method, headers=headers)
        assert isinstance(found, Continue)
        assert self.context is not None
        return response if found.on_response is None else found.on_response(response, self.context)


def build(
    extension: HttpFilterExtension, config: Config, given: Extensions | None = None
) -> HttpFilter:
    """The filter of a config."""
    found = extension.parse(Reader(config, "f"), given or extensions())
    assert found is not None
    return found


def overridden(
    extension: HttpFilterExtension,
    base: HttpFilter,
    *levels: Config,
    given: Extensions | None = None,
) -> HttpFilter:
    """The filter under the overrides of some levels, the least specific first."""
    assert extension.parse_override is not None
    for i, level in enumerate(levels):
        reader = Reader(level, f"level[{i}]")
        base = extension.parse_override(reader, given or extensions())(base)
    return base
