"""Documents to the resources of one node: what istiod would send it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from meshsdk.control_plane.istio.clusters import dns_family, is_eds, outbound_clusters, slices
from meshsdk.control_plane.istio.config import Config, Scope
from meshsdk.control_plane.istio.endpoints import load_assignment
from meshsdk.control_plane.istio.gateway_servers import gateway_targets
from meshsdk.control_plane.istio.inbound import inbound_clusters, inbound_listeners
from meshsdk.control_plane.istio.names import name_table
from meshsdk.control_plane.istio.outbound import outbound_listeners, outbound_routes
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.router import gateway_listeners, gateway_routes
from meshsdk.control_plane.istio.scope import scope_of
from meshsdk.control_plane.shapes.tls import Json

_OF_ONE_POD: Final = ("NAME", "INSTANCE_IPS")
_NOT_OF_ROUTERS: Final = ("PassthroughCluster", "InboundPassthroughCluster")


@dataclass(frozen=True, slots=True)
class NodeState:
    """The whole state of a node: name to resource, proto-JSON."""

    clusters: Mapping[str, Json] = field(default_factory=dict[str, Json])
    endpoints: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """By cluster name."""
    listeners: Mapping[str, Json] = field(default_factory=dict[str, Json])
    routes: Mapping[str, Json] = field(default_factory=dict[str, Json])
    names: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """The name table, under the empty name."""

    def dump(self) -> dict[str, Mapping[str, Json]]:
        """The shape of recorded states."""
        return {
            "CDS": self.clusters,
            "EDS": self.endpoints,
            "LDS": self.listeners,
            "NDS": self.names,
            "RDS": self.routes,
            "ECDS": {},
            "PCDS": {},
        }


def translate(
    config: Config, node: Proxy, routes: Iterable[str] = (), assignments: Iterable[str] = ()
) -> NodeState:
    """All that a sidecar or a gateway gets; `node` as it says itself who it is (`parse_proxy`).

    `routes` and `assignments`: names that it asks for beside those that its listeners and clusters
    name. Of a name that means nothing istiod sends an empty resource, so that nobody waits.
    """
    proxy = config.registry.known(node)
    view = _view(config, proxy)
    scope = view.scope
    clusters, listeners = dict(view.clusters), dict[str, Json]()
    if proxy.type == "router":
        clusters = {name: each for name, each in clusters.items() if name not in _NOT_OF_ROUTERS}
        listeners = gateway_listeners(config, proxy, scope)
    else:
        clusters |= inbound_clusters(config, proxy, scope)
        listeners |= outbound_listeners(config, proxy, scope)
        listeners |= inbound_listeners(config, proxy, scope)
    routes_of = gateway_routes if proxy.type == "router" else outbound_routes
    asked: dict[str, Json] = {name: {"cluster_name": name} for name in assignments}
    names = sorted({*route_names(listeners.values()), *routes})
    missing = [name for name in names if name not in view.routes]
    view.routes.update(routes_of(config, proxy, scope, missing))
    return NodeState(
        dict(sorted(clusters.items())),
        {**asked, **view.assignments},
        dict(sorted(listeners.items())),
        {name: view.routes[name] for name in names if name in view.routes},
        {"": view.names},
    )


@dataclass(frozen=True, slots=True)
class View:
    """What nodes have in common that see the mesh alike: all but their own listeners."""

    scope: Scope
    clusters: Mapping[str, Json]
    assignments: Mapping[str, Json]
    names: Json
    routes: dict[str, Json] = field(default_factory=dict[str, Json])
    """Those that some of them have asked for."""


def _view(config: Config, proxy: Proxy) -> View:
    """Worked out once for one configuration, however many pods a workload has."""
    key = _sight(config, proxy)
    found = config.views.get(key)
    if isinstance(found, View):
        return found
    scope = scope_of(config, proxy)
    made = View(
        scope,
        outbound_clusters(config, proxy, scope),
        load_assignments(config, proxy, scope),
        name_table(config, proxy, scope),
    )
    config.views[key] = made
    return made


def _sight(config: Config, proxy: Proxy) -> str:
    """All that a node says and the registry knows of it, but for what is one pod's alone: its name
    and addresses. Of a gateway's routes the ports that it serves are a part."""
    metadata = {key: value for key, value in proxy.metadata.items() if key not in _OF_ONE_POD}
    facts = (
        proxy.type,
        dns_family(proxy),
        proxy.namespace,
        proxy.dns_domain,
        metadata,
        dict(proxy.labels),
        proxy.locality,
        proxy.cluster_id,
        gateway_targets(config, proxy) if proxy.type == "router" else None,
    )
    return json.dumps(facts, sort_keys=True, default=str)


def load_assignments(config: Config, proxy: Proxy, scope: Scope) -> dict[str, Json]:
    """Those of all clusters that want EDS."""
    return {
        part.name: load_assignment(config, proxy, part)
        for service in scope.by_host.values()
        for part in slices(service, config.destination_rule(service, proxy))
        if is_eds(part)
    }


def route_names(data: Iterable[object]) -> Iterable[str]:
    """The route configurations that listeners ask for."""
    for item in data:
        if isinstance(item, Mapping):
            message = cast("Mapping[str, object]", item)
            found = message.get("rds")
            if isinstance(found, Mapping):
                yield str(cast("Mapping[str, object]", found).get("route_config_name"))
            yield from route_names(message.values())
        elif isinstance(item, list):
            yield from route_names(cast("list[object]", item))
