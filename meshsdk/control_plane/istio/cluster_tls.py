"""What a cluster's connections are secured with: TLS of its rule, else auto-mTLS. FEED.md 3.6."""

from collections.abc import Sequence
from dataclasses import dataclass

from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.endpoints import Slice
from meshsdk.control_plane.istio.services import Service
from meshsdk.control_plane.istio.traffic_policy import ClientTls, TrafficPolicy
from meshsdk.control_plane.shapes.tls import (
    Json,
    ads_secret,
    file_secret,
    foreign_upstream_tls,
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


def cluster_tls(config: Config, part: Slice, *, is_http2: bool, is_router: bool) -> ClusterTls:
    """TLS of a cluster.

    Secrets of Kubernetes are for gateways, and for the sidecars that a rule's workloadSelector
    chooses: istiod gives others nothing, which is plaintext.
    """
    accounts = subject_names(config, part.service)
    sni, policy = part.name.replace("|", "_."), part.policy
    match policy.tls:
        case None:
            return _auto(config, part, upstream_tls(sni, accounts, is_http2=is_http2))
        case ClientTls(mode="DISABLE"):
            return ClusterTls(_without_tls(policy))
        case ClientTls(mode="ISTIO_MUTUAL") as tls:
            names = tls.subject_alt_names or accounts
            socket = upstream_tls(tls.sni or sni, names, is_http2=is_http2)
            return ClusterTls({"transport_socket": _wrapped(socket, policy)})
        case ClientTls() as tls:
            has_secrets = is_router or bool(part.rule and part.rule.selector)
            if tls.credential_name and not has_secrets:
                return ClusterTls(_without_tls(policy), is_foreign=True)
            return _foreign(tls, accounts, policy, is_http2=is_http2)


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


def _auto(config: Config, part: Slice, socket: Json) -> ClusterTls:
    """mTLS where the endpoint can. Source: istiod, buildUpstreamTLSSettings."""
    service, policy = part.service, part.policy
    if not config.mesh.enable_auto_mtls or service.is_external:
        return ClusterTls(_without_tls(policy))
    is_original = is_original_dst(service, policy)
    if is_original and not _every_endpoint_has_mtls(service, part.port.number):
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
    tls: ClientTls, accounts: Sequence[str], policy: TrafficPolicy, *, is_http2: bool
) -> ClusterTls:
    """SIMPLE and MUTUAL."""
    roots, certificate = _secrets(tls)
    socket = foreign_upstream_tls(
        None if tls.insecure_skip_verify else roots,
        tls.subject_alt_names or accounts,
        certificate=certificate if tls.mode == "MUTUAL" else None,
        sni=tls.sni,
        is_http2=is_http2,
    )
    options: Json | None = None
    if not tls.sni:
        options = {"auto_sni": True}
        if not tls.subject_alt_names and not tls.insecure_skip_verify:
            options["auto_san_validation"] = True
    return ClusterTls({"transport_socket": _wrapped(socket, policy)}, True, options)


def _secrets(tls: ClientTls) -> tuple[Json, Json]:
    """Roots and certificate: files, or of a Kubernetes Secret."""
    if tls.credential_name:
        name = f"kubernetes://{tls.credential_name}"
        return ads_secret(f"{name}-cacert"), ads_secret(name)
    pair = f"file-cert:{tls.client_certificate}~{tls.private_key}"
    return file_secret(f"file-root:{tls.ca_certificates or 'system'}"), file_secret(pair)


def _without_tls(policy: TrafficPolicy) -> Json:
    if not policy.proxy_protocol:
        return {}
    return {"transport_socket": _wrapped(raw_buffer(), policy)}


def _wrapped(socket: Json, policy: TrafficPolicy) -> Json:
    version = policy.proxy_protocol
    return with_proxy_protocol(socket, version) if version else socket
