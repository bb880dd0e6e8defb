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


def upstream_tls(sni: str, accounts: Sequence[str]) -> Json:
    """Istio mTLS towards a service. `accounts`: the SPIFFE IDs that may answer; none is any."""
    sans = [{"exact": account} for account in accounts]
    common = _common(["istio-peer-exchange", "istio"], sans)
    common["tls_params"] = dict(_VERSIONS)
    return _socket("UpstreamTlsContext", {"common_tls_context": common, "sni": sni})


def downstream_tls(trust_domain: str, *, is_tcp: bool = False) -> Json:
    """Istio mTLS on an inbound chain: any workload of the trust domain, by its certificate."""
    alpn = ["istio-peer-exchange", "h2", "http/1.1"] if is_tcp else ["h2", "http/1.1"]
    common = _common(alpn, [{"prefix": f"spiffe://{trust_domain}/"}])
    common["tls_params"] = {"cipher_suites": list(_CIPHERS), **_VERSIONS}
    context: Json = {"common_tls_context": common, "require_client_certificate": True}
    return _socket("DownstreamTlsContext", context)


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
            "validation_context_sds_secret_config": _secret("ROOTCA"),
        },
        "tls_certificate_sds_secret_configs": [_secret("default")],
    }


def _secret(name: str) -> Json:
    return {
        "name": name,
        "sds_config": {
            "api_config_source": {
                "api_type": "GRPC",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
                "set_node_on_first_message_only": True,
                "transport_api_version": "V3",
            },
            "initial_fetch_timeout": "0s",
            "resource_api_version": "V3",
        },
    }


def _socket(message: str, context: Json) -> Json:
    type_url = f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{message}"
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": type_url, **context},
    }
