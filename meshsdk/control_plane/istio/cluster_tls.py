"""What a cluster's connections are secured with: TLS of its rule, else auto-mTLS. FEED.md 3.6."""

from collections.abc import Sequence
from dataclasses import dataclass

from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.services import Service
from meshsdk.control_plane.istio.traffic_policy import ClientTls, TrafficPolicy
from meshsdk.control_plane.shapes.tls import (
    Json,
    file_upstream_tls,
    raw_buffer,
    upstream_tls,
    with_proxy_protocol,
)


@dataclass(frozen=True, slots=True)
class ClusterTls:
    """The part of a cluster that is about TLS."""

    fields: Json
    """`transport_socket` or `transport_socket_matches`, or nothing: plaintext."""
    is_foreign: bool = False
    """TLS that is not Istio's: no ALPN of Istio."""
    http_options: Json | None = None
    """`upstream_http_protocol_options`."""


def cluster_tls(
    config: Config, service: Service, port: int, policy: TrafficPolicy, name: str, is_http2: bool
) -> ClusterTls:
    """TLS of the cluster of one port; `policy`: the port's."""
    accounts = subject_names(config, service)
    sni = name.replace("|", "_.")
    match policy.tls:
        case None:
            found = _auto(
                config, service, port, policy, upstream_tls(sni, accounts, is_http2=is_http2)
            )
        case ClientTls(mode="DISABLE"):
            found = ClusterTls(_without_tls(policy))
        case ClientTls(mode="ISTIO_MUTUAL") as tls:
            names = tls.subject_alt_names or accounts
            socket = upstream_tls(tls.sni or sni, names, is_http2=is_http2)
            found = ClusterTls({"transport_socket": _wrapped(socket, policy)})
        case ClientTls() as tls:
            found = _foreign(tls, accounts, policy, is_http2)
    return found


def subject_names(config: Config, service: Service) -> tuple[str, ...]:
    """Who may answer: the SPIFFE IDs of the service's endpoints, and the names that its document
    lists. Empty is anybody with a certificate of our roots."""
    mesh = config.mesh
    found = {
        f"spiffe://{domain}/ns/{namespace}/sa/{account}"
        for namespace, account in service.service_accounts
        for domain in mesh.trust_domains
    }
    return tuple(sorted(found | set(service.subject_alt_names)))


def _auto(
    config: Config, service: Service, port: int, policy: TrafficPolicy, socket: Json
) -> ClusterTls:
    """mTLS where the endpoint can. Source: istiod, buildUpstreamTLSSettings."""
    if not config.mesh.enable_auto_mtls or service.is_external:
        return ClusterTls(_without_tls(policy))
    is_original = is_original_dst(service, policy)
    if is_original and not _every_endpoint_has_mtls(service, port):
        return ClusterTls(_without_tls(policy))
    if config.mtls_of_namespace(service.namespace).mode == "DISABLE":
        return ClusterTls(_without_tls(policy))
    if is_original:
        return ClusterTls({"transport_socket": _wrapped(socket, policy)})
    matches = [
        {
            "match": {"tlsMode": "istio"},
            "name": "tlsMode-istio",
            "transport_socket": _wrapped(socket, policy),
        },
        {
            "match": {},
            "name": "tlsMode-disabled",
            "transport_socket": _wrapped(raw_buffer(), policy),
        },
    ]
    return ClusterTls({"transport_socket_matches": matches})


def is_original_dst(service: Service, policy: TrafficPolicy) -> bool:
    """Whether the address that the application dialled is the endpoint."""
    if service.resolution == "NONE":
        return True
    balancer = policy.load_balancer
    return (
        balancer is not None
        and balancer.simple == "PASSTHROUGH"
        and balancer.consistent_hash is None
    )


def _every_endpoint_has_mtls(service: Service, port: int) -> bool:
    served = [each for each in service.endpoints if port in each.ports]
    return bool(served) and all(each.has_mtls for each in served)


def _foreign(
    tls: ClientTls, accounts: Sequence[str], policy: TrafficPolicy, is_http2: bool
) -> ClusterTls:
    """SIMPLE and MUTUAL. A credentialName is for gateways only: istiod gives a sidecar nothing."""
    if tls.credential_name:
        return ClusterTls(_without_tls(policy), is_foreign=True)
    certificate = None
    if tls.mode == "MUTUAL":
        certificate = tls.client_certificate, tls.private_key
    root = None if tls.insecure_skip_verify else tls.ca_certificates or "system"
    names = tls.subject_alt_names or accounts
    socket = file_upstream_tls(root, names, certificate=certificate, sni=tls.sni, is_http2=is_http2)
    options: Json | None = None
    if not tls.sni:
        options = {"auto_sni": True}
        if not tls.subject_alt_names and not tls.insecure_skip_verify:
            options["auto_san_validation"] = True
    return ClusterTls({"transport_socket": _wrapped(socket, policy)}, True, options)


def _without_tls(policy: TrafficPolicy) -> Json:
    if not policy.proxy_protocol:
        return {}
    return {"transport_socket": _wrapped(raw_buffer(), policy)}


def _wrapped(socket: Json, policy: TrafficPolicy) -> Json:
    version = policy.proxy_protocol
    return with_proxy_protocol(socket, version) if version else socket
