"""TLS contexts as istiod writes them. The secrets `default` and `ROOTCA` are the workload's own."""

from collections.abc import Sequence
from typing import Final, TypeAlias

Json: TypeAlias = dict[str, object]

ISTIO_ALPN: Final = ("istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2")
ISTIO_HTTP_ALPN: Final = ("istio-http/1.0", "istio-http/1.1", "istio-h2")

_VERSIONS: Final = {
    "tls_maximum_protocol_version": "TLSv1_3",
    "tls_minimum_protocol_version": "TLSv1_2",
}
_CIPHERS: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)


def upstream_tls(sni: str, accounts: Sequence[str], *, is_http2: bool = False) -> Json:
    """Istio mTLS towards a service. `accounts`: the SPIFFE IDs that may answer; none is any."""
    sans = [{"exact": account} for account in accounts]
    h2 = ["h2"] if is_http2 else []
    common = _common(["istio-peer-exchange", "istio", *h2], sans)
    common["tls_params"] = dict(_VERSIONS)
    return tls_socket("UpstreamTlsContext", {"common_tls_context": common, "sni": sni})


def foreign_upstream_tls(
    roots: Json | None,
    sans: Sequence[str],
    *,
    certificate: Json | None = None,
    sni: str = "",
    is_http2: bool = False,
) -> Json:
    """TLS towards a service that is not of the mesh. `roots` and `certificate` are secrets; without
    roots no certificate is verified."""
    common: Json = {"tls_params": dict(_VERSIONS)}
    if is_http2:
        common["alpn_protocols"] = ["h2"]
    if roots is None:
        common["validation_context"] = {}
    else:
        names: Json = {"match_subject_alt_names": [{"exact": san} for san in sans]} if sans else {}
        common["combined_validation_context"] = {
            "default_validation_context": names,
            "validation_context_sds_secret_config": roots,
        }
    if certificate is not None:
        common["tls_certificate_sds_secret_configs"] = [certificate]
    context: Json = {"common_tls_context": common}
    return tls_socket("UpstreamTlsContext", {**context, "sni": sni} if sni else context)


def downstream_tls(
    trust_domain: str,
    *,
    is_tcp: bool = False,
    aliases: Sequence[str] = (),
    minimum_version: str = "TLSv1_2",
    cipher_suites: Sequence[str] = (),
    ecdh_curves: Sequence[str] = (),
) -> Json:
    """Istio mTLS on an inbound chain: any workload of the trust domain (or of an alias of it), by
    its certificate. `cipher_suites`: istiod's own where empty."""
    alpn = ["istio-peer-exchange", "h2", "http/1.1"] if is_tcp else ["h2", "http/1.1"]
    domains = dict.fromkeys((trust_domain, *aliases))
    common = _common(alpn, [{"prefix": f"spiffe://{domain}/"} for domain in domains])
    params: Json = {
        "cipher_suites": list(cipher_suites or _CIPHERS),
        **_VERSIONS,
        "tls_minimum_protocol_version": minimum_version,
    }
    common["tls_params"] = {**params, "ecdh_curves": list(ecdh_curves)} if ecdh_curves else params
    context: Json = {"common_tls_context": common, "require_client_certificate": True}
    return tls_socket("DownstreamTlsContext", context)


def with_proxy_protocol(socket: Json, version: str) -> Json:
    """The same behind a PROXY protocol header of `V1` or `V2`."""
    type_url = (
        "type.googleapis.com/"
        "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
    )
    config: Json = {"version": "V2"} if version == "V2" else {}
    return {
        "name": "envoy.transport_sockets.upstream_proxy_protocol",
        "typed_config": {"@type": type_url, "config": config, "transport_socket": socket},
    }


def raw_buffer() -> Json:
    """No TLS."""
    return {
        "name": "envoy.transport_sockets.raw_buffer",
        "typed_config": {
            "@type": "type.googleapis.com/"
            "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
        },
    }


def _common(alpn: list[str], sans: Sequence[Json] | Sequence[dict[str, str]]) -> Json:
    validation: Json = {"match_subject_alt_names": list(sans)} if sans else {}
    return {
        "alpn_protocols": alpn,
        "combined_validation_context": {
            "default_validation_context": validation,
            "validation_context_sds_secret_config": own_secret("ROOTCA"),
        },
        "tls_certificate_sds_secret_configs": [own_secret("default")],
    }


def own_secret(name: str) -> Json:
    """A secret of the agent beside the proxy."""
    return {"name": name, "sds_config": {**_agent(), "initial_fetch_timeout": "0s"}}


def _agent() -> Json:
    return {
        "api_config_source": {
            "api_type": "GRPC",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
            "set_node_on_first_message_only": True,
            "transport_api_version": "V3",
        },
        "resource_api_version": "V3",
    }


def file_secret(name: str) -> Json:
    """A secret that is a file; the agent reads it."""
    return {"name": name, "sds_config": _agent()}


def ads_secret(name: str) -> Json:
    """A secret that the control plane itself sends."""
    return {"name": name, "sds_config": {"ads": {}, "resource_api_version": "V3"}}


def tls_socket(message: str, context: Json) -> Json:
    """A transport socket with a TLS context."""
    type_url = f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{message}"
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": type_url, **context},
    }
