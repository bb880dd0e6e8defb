"""The checker: a configuration compiled as in production, requests run through the real flows."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import Flow
from meshsdk.call.filter import Continue, Step
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.cli.check import case, client, outcome
from meshsdk.cli.check.case import Json
from meshsdk.cli.check.exchange import Exchange
from meshsdk.cli.check.handshake import Identities
from meshsdk.cli.check.loop import EventLoop
from meshsdk.cli.check.upstream import ScriptedUpstream
from meshsdk.clock import seeded
from meshsdk.config.extension import Extensions, PlacedFilter, Registry
from meshsdk.filters import HTTP_FILTERS, NETWORK_FILTERS
from meshsdk.flow.cluster_plan import LiveState
from meshsdk.flow.outbound import through
from meshsdk.flow.plan import Plan, compile_plan
from meshsdk.flow.select import select_on
from meshsdk.lb_policies import LB_POLICIES
from meshsdk.wire.bootstrap_form import static_resources
from meshsdk.wire.json_form import normalize
from meshsdk.xds.static import static_snapshot

_SEED = 1
"""Chance is the same in every run."""
_LOCAL_ADDRESS = "192.0.2.2"
"""Our own address where the corpus was recorded: what stands for a loopback peer in XFF."""
_SERVICE_CLUSTER = "oracle"
"""Our node's cluster there."""
_STAGGER = 15.0
"""Milliseconds between concurrent requests where the case says nothing."""


class _Metadata:
    """A filter before all others: dynamic metadata is there for them, and no route has seen it."""

    def __init__(self) -> None:
        self.given: Mapping[str, Mapping[str, object]] = {}
        """Of the call that begins: this filter is asked before anything else can happen."""

    def on_request(self, request: Request, context: CallContext) -> Step:
        """Publish what the case gives."""
        for namespace, values in self.given.items():
            for key, value in values.items():
                context.metadata(namespace, key, value)
        return Continue(request)


class Checker:
    """One configuration; state carries on from one request to the next."""

    def __init__(
        self,
        config: Json,
        compat: Literal["strict", "envoy"] = "envoy",
        *,
        is_inbound: bool = False,
    ) -> None:
        """ConfigError when the configuration is refused. `is_inbound`: its port is an application's
        own, no proxy's."""
        self._is_inbound = is_inbound
        self._loop = EventLoop()
        self._random = seeded(_SEED)
        identities = config.get("upstream_tls")
        self._upstream = ScriptedUpstream(
            self._loop, cast("Identities", identities) if isinstance(identities, Mapping) else {}
        )
        self._metadata = _Metadata()
        extensions = Extensions(
            http_filters=Registry("HTTP filter", HTTP_FILTERS),
            network_filters=Registry("network filter", NETWORK_FILTERS),
            lb_policies=Registry("load balancing policy", LB_POLICIES),
            compat=compat,
            runtime=_runtime(config),
            local_address=_LOCAL_ADDRESS,
            service_cluster=_SERVICE_CLUSTER,
            placed_filters=(PlacedFilter(self._metadata, "check.metadata", before="*"),),
        )
        if case.is_neutral(config):
            found = {
                url: {name: normalize(url, data, name) for name, data in by_name.items()}
                for url, by_name in case.resources(config).items()
            }
        else:
            found = static_resources(config, "config")
        snapshot = static_snapshot(found, extensions)
        self._live = LiveState(self._loop, self._random)
        self._plan: Plan = compile_plan(snapshot, extensions, self._live)
        spec = config.get("listener")
        self._spec = client.ListenerSpec(cast("Json", spec) if isinstance(spec, Mapping) else {})
        own: frozenset[str] | None = None
        if case.is_neutral(config):
            brought = cast("Sequence[Json]", config.get("clusters") or ())
            own = frozenset(str(cluster["name"]) for cluster in brought)
        self._case = outcome.Case(own)
        self._settle = _number(config, "settle_ms") / 1000.0
        self.context: CallContext | None = None
        """Of the newest request that came through its handshake."""

    def run(self, requests: Sequence[Json]) -> list[Json]:
        """Outcomes, in order; requests of a case are sent one at a time."""
        return [self._one(request) for request in requests]

    def _one(self, request: Json) -> Json:
        self._loop.advance(_number(request, "sleep_before_ms") / 1000.0)
        self._upstream.begin(request, keep_counts=bool(request.get("keep_counts")))
        if "concurrent" in request:
            return self._concurrent(request)
        if "repeat" in request:
            return self._repeat(request)
        result = self._send(request)
        self._loop.advance(self._settle)
        return result

    # -- one request ------------------------------------------------------------------------

    def _send(self, request: Json, connection: Connection | None = None) -> Json:
        refusal = self._spec.refuses(request)
        if refusal is not None:
            return outcome.refused(request.get("id"), refusal)
        decoded = client.decode(request)
        if isinstance(decoded, LocalReply):
            return outcome.codec_refusal(request.get("id"), decoded)
        self._upstream.seen = []
        started = self._loop.monotonic()
        over: list[bool] = []
        exchange, context = self._begin(request, decoded, lambda: over.append(True), connection)
        if exchange is None:
            return outcome.refused(request.get("id"), "connection_closed")
        self._loop.run(lambda: bool(over))
        result = outcome.of_call(
            request.get("id"), exchange.outcome, context, self._upstream.seen, self._case
        )
        if request.get("record_elapsed"):
            result["elapsed_ms"] = round((self._loop.monotonic() - started) * 1000)
        return result

    def _begin(
        self,
        request: Json,
        decoded: Request,
        finished: Callable[[], None],
        connection: Connection | None = None,
    ) -> tuple[Exchange | None, CallContext]:
        connection = connection or client.connection(request)
        context = CallContext(self._loop, self._random, connection, self._is_inbound)
        context.start = self._loop.monotonic()
        context.destination = connection.local
        context.can_pace = True  # what is decided is the same; the time is not simulated
        self.context = context
        found = request.get("dynamic_metadata")
        self._metadata.given = (
            cast("Mapping[str, Mapping[str, object]]", found) if isinstance(found, Mapping) else {}
        )
        flow = self._flow(decoded, connection, context)
        if flow is None:
            return None, context
        body = str(request.get("body") or "").encode("latin-1")
        exchange = Exchange(self._loop, self._upstream, flow, body, finished)
        exchange.start()
        return exchange, context

    def _flow(
        self, request: Request, connection: Connection, context: CallContext
    ) -> Flow[None] | None:
        """The flow of the listener that takes the connection's port, or of the only one."""
        plan = self._plan
        local = connection.local
        found = (
            plan.by_address.get((local.host, local.port))
            or plan.by_address.get(("0.0.0.0", local.port))  # noqa: S104 - a listener's name
            or next(iter(plan.by_name.values()), None)
        )
        selected = None if found is None else select_on(found, connection)
        return None if selected is None else through(plan, selected, request, context)

    # -- many requests ----------------------------------------------------------------------

    def _repeat(self, request: Json) -> Json:
        sequence: list[str] = []
        connection = client.connection(request)
        for i in range(int(_number(request, "repeat"))):
            result = self._send(
                _varied(request, i), None if request.get("fresh_connection") else connection
            )
            name = result.get("endpoint") or result.get("cluster")
            if request.get("observe_status") or name is None:
                name = f"{name}|{result.get('status')}"
            sequence.append(str(name))
            self._loop.advance(_number(request, "interval_ms") / 1000.0)
        return {"id": request.get("id"), "sequence": sequence}

    def _concurrent(self, request: Json) -> Json:
        count = int(_number(request, "concurrent"))
        exchanges: list[Exchange] = []
        done: list[int] = []

        def start() -> None:
            decoded = client.decode(request)
            assert isinstance(decoded, Request)
            exchange, _ = self._begin(request, decoded, lambda: done.append(1))
            if exchange is not None:
                exchanges.append(exchange)

        stagger = _number(request, "stagger_ms", _STAGGER) / 1000.0
        for i in range(count):
            self._loop.call_later(i * stagger, start)
        self._loop.run(lambda: len(done) >= count)
        counts = Counter(_status(exchange) for exchange in exchanges)
        return {"id": request.get("id"), "counts": dict(counts)}


def _status(exchange: Exchange) -> str:
    found = exchange.outcome
    return str(found.status) if isinstance(found, Response) else "closed"


def _varied(request: Json, index: int) -> Json:
    """A repeated request with its index in the places that vary."""
    if not request.get("vary"):
        return request
    headers = cast("Sequence[tuple[str, str]]", request.get("headers") or ())
    return {
        **request,
        "headers": [[name, value.replace("{i}", str(index))] for name, value in headers],
        "path": str(request.get("path", "/")).replace("{i}", str(index)),
    }


def _runtime(config: Json) -> Mapping[str, object] | None:
    """The static runtime layer of a neutral config or a bootstrap."""
    found = config.get("runtime")
    if isinstance(found, Mapping):
        return cast("Json", found)
    layered = config.get("layered_runtime")
    layers = cast("Json", layered).get("layers") if isinstance(layered, Mapping) else None
    merged: dict[str, object] = {}
    for layer in cast("Sequence[Json]", layers or ()):
        values = layer.get("static_layer")
        if isinstance(values, Mapping):
            merged.update(cast("Json", values))
    return merged or None


def _number(request: Json, name: str, default: float = 0.0) -> float:
    found = request.get(name, default)
    return float(found) if isinstance(found, int | float) else default
