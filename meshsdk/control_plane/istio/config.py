"""What every translation reads, and what one node may call.

The parts of a node's state, each a function of these nouns (`translate` puts them together):

    scope.py       scope_of(config, proxy) -> Scope
    outbound.py    outbound_listeners(config, proxy, scope) -> dict[str, Json]
                   outbound_routes(config, proxy, scope, names) -> dict[str, Json]
    clusters.py    outbound_clusters(config, proxy, scope) -> dict[str, Json]
    endpoints.py   load_assignments(config, proxy, scope, names) -> dict[str, Json]
    inbound.py     inbound_listener(config, proxy) and inbound_clusters(config, proxy)
    names.py       name_table(config, proxy, scope) -> Json
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, cast

from meshsdk.control_plane.istio.authn import KeySets
from meshsdk.control_plane.istio.authz import IstioVersion
from meshsdk.control_plane.istio.delegates import with_delegates
from meshsdk.control_plane.istio.destination_rule import DestinationRule, DestinationRules
from meshsdk.control_plane.istio.egress import Egress
from meshsdk.control_plane.istio.gateway_api import MeshRoute
from meshsdk.control_plane.istio.http_actions import Destination
from meshsdk.control_plane.istio.loader import Loaded
from meshsdk.control_plane.istio.mesh_config import MeshConfig
from meshsdk.control_plane.istio.mesh_routes import virtual_services_of
from meshsdk.control_plane.istio.peer_authentication import (
    InboundMtls,
    PeerAuthentication,
    inbound_mtls,
)
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.registry import Registry, by_host
from meshsdk.control_plane.istio.selectors import Workload
from meshsdk.control_plane.istio.services import Service
from meshsdk.control_plane.istio.sidecar import OutboundMode, Sidecar
from meshsdk.control_plane.istio.virtual_service import VirtualService

T = TypeVar("T")


@dataclass(frozen=True)
class Config:
    """All that a translation reads: the same for every node."""

    loaded: Loaded
    registry: Registry
    key_sets: KeySets
    istio_version: IstioVersion = "1.29"

    @property
    def mesh(self) -> MeshConfig:
        """The mesh-wide settings."""
        return self.loaded.mesh_config

    @cached_property
    def views(self) -> dict[str, object]:
        """What `translate` has worked out for nodes that see the mesh alike."""
        return {}

    @cached_property
    def virtual_services(self) -> tuple[VirtualService, ...]:
        """Those with hosts, their delegates inside, oldest first; then those of the Gateway API."""
        default = self.mesh.default_virtual_service_export_to
        found = with_delegates(self.loaded.all(VirtualService), default)
        return (*found, *virtual_services_of(self.loaded.all(MeshRoute)))

    @cached_property
    def _destination_rules(self) -> DestinationRules:
        default = self.mesh.default_destination_rule_export_to
        rules = self.loaded.all(DestinationRule)
        return DestinationRules(rules, self.mesh.root_namespace, default)

    def destination_rule(self, service: Service, proxy: Proxy) -> DestinationRule | None:
        """The rule that a node follows when it calls a service."""
        return self._destination_rules.for_service(service, proxy.namespace, proxy.labels)

    @cached_property
    def _memo(self) -> dict[tuple[object, ...], tuple[Service, object]]:
        return {}

    def remembered(self, key: tuple[object, ...], service: Service, make: Callable[[], T]) -> T:
        """What was made under a key, made once; nobody changes what is in it. `service`: the one
        whose `id` is in the key. It is kept with it, for another must not get that id."""
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = service, make()
        return cast("T", found[1])

    @cached_property
    def _peer_authentications(self) -> tuple[PeerAuthentication, ...]:
        return self.loaded.all(PeerAuthentication)

    @cached_property
    def _selecting(self) -> frozenset[str]:
        """Namespaces that have a PeerAuthentication with a selector."""
        policies = self._peer_authentications
        return frozenset(each.metadata.namespace for each in policies if each.selector)

    @cached_property
    def _mtls(self) -> dict[tuple[str, frozenset[tuple[str, str]] | None], InboundMtls]:
        return {}

    def mtls_of(self, workload: Workload) -> InboundMtls:
        """What the PeerAuthentications say of a workload."""
        if workload.namespace not in self._selecting:
            return self.mtls_of_namespace(workload.namespace)
        key = workload.namespace, frozenset(workload.labels.items())
        found = self._mtls.get(key)
        if found is None:
            root = self.mesh.root_namespace
            found = self._mtls[key] = inbound_mtls(self._peer_authentications, workload, root)
        return found

    def mtls_of_namespace(self, namespace: str) -> InboundMtls:
        """What they say of workloads that none of them selects."""
        key = namespace, None
        found = self._mtls.get(key)
        if found is None:
            policies = [each for each in self._peer_authentications if not each.selector]
            workload, root = Workload(namespace), self.mesh.root_namespace
            found = self._mtls[key] = inbound_mtls(policies, workload, root)
        return found


@dataclass(frozen=True)
class Scope:
    """What one node may call: all that is visible to it, narrowed by its Sidecar."""

    services: tuple[Service, ...]
    """Oldest first."""
    egress: tuple[Egress, ...] = ()
    """What its listeners let through; the one without a port is the last."""
    sidecar: Sidecar | None = None
    """None where no document chooses the node."""
    outbound_mode: OutboundMode = "ALLOW_ANY"
    egress_proxy: Destination | None = None
    """Where unknown hosts go instead of past the mesh."""
    gateway_rules: tuple[VirtualService, ...] = ()
    """Of a gateway: what is visible to it, whatever gateways it is for."""

    @cached_property
    def by_host(self) -> dict[str, Service]:
        """One service a host name."""
        return by_host(self.services)
