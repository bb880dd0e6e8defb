"""Plans from Envoy-style YAML, for flows that are driven by hand."""

from collections.abc import Mapping
from typing import cast

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Deliver, Effect, Flow, Send
from meshsdk.call.message import BodyEnd, Request, Reset, ResetReason, Response
from meshsdk.config.extension import Extensions, Registry
from meshsdk.config.yaml import load
from meshsdk.filters import HTTP_FILTERS, NETWORK_FILTERS
from meshsdk.flow.cluster_plan import LiveState
from meshsdk.flow.outbound import Source, outbound
from meshsdk.flow.plan import Plan, compile_plan
from meshsdk.flow.select import Target
from meshsdk.lb_policies import LB_POLICIES
from meshsdk.testing.clock import FakeClock, SeededRandom
from meshsdk.wire.bootstrap_form import static_resources
from meshsdk.xds.static import static_snapshot

EXTENSIONS = Extensions(
    http_filters=Registry("HTTP filter", HTTP_FILTERS),
    network_filters=Registry("network filter", NETWORK_FILTERS),
    lb_policies=Registry("load balancing policy", LB_POLICIES),
)
TARGET = Target("reviews", 80)
GET = Request("GET", "reviews", "/ratings")


class Mesh:
    """A plan with its live state, and time that stands still."""

    def __init__(self, config: str) -> None:
        self.clock = FakeClock()
        self.live = LiveState(self.clock, SeededRandom(1))
        self.plan: Plan | None = None
        self.version = 0
        self.contexts: list[CallContext] = []
        self.push(config)

    def push(self, config: str) -> None:
        """Put another configuration in force."""
        self.version += 1
        found = static_resources(cast("Mapping[str, object]", load(config, "test")), "test")
        snapshot = static_snapshot(found, EXTENSIONS, self.version)
        self.plan = compile_plan(snapshot, EXTENSIONS, self.live, self.plan)

    @property
    def source(self) -> Source:
        return Source(lambda: self.plan, self.live)

    def call(self, request: Request = GET, target: Target = TARGET) -> Flow[None]:
        return outbound(self.source, request, target, observe=self.contexts.append)

    @property
    def context(self) -> CallContext:
        """Of the last call."""
        return self.contexts[-1]

    def active(self, cluster: str) -> int:
        """Requests in flight at a cluster's hosts."""
        return sum(h.active_requests for h in self.live.clusters[cluster].hosts.values())


def sent_to(effect: Effect) -> str:
    """The endpoint of a Send."""
    assert isinstance(effect, Send)
    return str(effect.attempt.host.endpoint.address)


def delivered(effect: Effect) -> Response:
    """The response of a Deliver."""
    assert isinstance(effect, Deliver)
    assert isinstance(effect.outcome, Response)
    return effect.outcome


def refused() -> Reset:
    """What an attempt at a closed port gives."""
    return Reset(ResetReason.CONNECT_FAILURE, "Connection refused", request_sent=False)


def finish(flow: Flow[None]) -> None:
    """The body has ended."""
    try:
        flow.send(BodyEnd(2))
    except StopIteration:
        return
    raise AssertionError("a flow asked for an effect after Deliver")


def endpoints(cluster: str, *ports: int) -> str:
    """A STATIC cluster's load assignment, as flow-style YAML."""
    address = "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT}}}}"
    listed = ", ".join(address.replace("PORT", str(port)) for port in ports)
    return f"{{cluster_name: {cluster}, endpoints: [{{lb_endpoints: [{listed}]}}]}}"


def config(
    route: str, ports: tuple[int, ...] = (9001, 9002), more: str = "", filters: str = ""
) -> str:
    """One outbound listener whose only route is `route` (flow-style YAML), one cluster."""
    return f"""
static_resources:
  listeners:
  - name: out
    address: {{socket_address: {{address: 0.0.0.0, port_value: 80}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          generate_request_id: false
          route_config:
            name: r
            virtual_hosts:
            - {{name: v, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {route}}}]}}
          http_filters:
          {filters}
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: c
    type: STATIC
    connect_timeout: 1s
    load_assignment: {endpoints("c", *ports)}
    {more}
"""
