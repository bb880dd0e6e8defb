"""The scope of a node: its Sidecar, or all that is visible in its namespace."""

from meshsdk.control_plane.istio.config import Config, Scope
from meshsdk.control_plane.istio.egress import Egress, egress_of, everything, services_of
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.services import Service
from meshsdk.control_plane.istio.sidecar import EgressListener, Sidecar, sidecar_of
from meshsdk.control_plane.istio.virtual_service import VirtualService

_ANY: EgressListener = EgressListener((("*", "*"),))


def scope_of(config: Config, proxy: Proxy) -> Scope:
    """What a node may call; `proxy` as the registry knows it."""
    mesh = config.mesh
    services = config.registry.services_for(proxy)
    rules = tuple(
        rule
        for rule in config.virtual_services
        if rule.is_visible_to(proxy.namespace, mesh.default_virtual_service_export_to)
    )
    sidecar = sidecar_of(config.loaded.all(Sidecar), proxy.workload, mesh.root_namespace)
    if sidecar is None or proxy.type == "router":
        return Scope(
            services,
            (everything(services, rules),),
            outbound_mode=mesh.outbound_traffic_policy,
            gateway_rules=rules if proxy.type == "router" else (),
        )
    egress = _egress(sidecar, services, rules, proxy.namespace)
    return Scope(
        services_of(egress, services, proxy.namespace),
        egress,
        sidecar,
        sidecar.outbound_mode or mesh.outbound_traffic_policy,
        sidecar.egress_proxy,
    )


def _egress(
    sidecar: Sidecar,
    services: tuple[Service, ...],
    rules: tuple[VirtualService, ...],
    namespace: str,
) -> tuple[Egress, ...]:
    listeners = sidecar.egress or (_ANY,)
    return tuple(egress_of(each, services, rules, namespace) for each in listeners)
