"""TLS contexts of gateways."""

from collections.abc import Sequence

from meshsdk.control_plane.shapes.tls import Json, ads_secret, file_secret, own_secret, tls_socket


def gateway_tls(
    certificate: str,
    roots: str,
    *,
    is_required: bool,
    validation: Json | None = None,
    versions: Json | None = None,
    alpn: Sequence[str] = ("h2", "http/1.1"),
) -> Json:
    """`certificate` and `roots` are names of secrets: `default`, `file-cert:CHAIN~KEY`,
    `kubernetes://NAME`; without roots no client certificate is asked for."""
    common: Json = {"tls_certificate_sds_secret_configs": [_secret(certificate)]}
    if alpn:
        common["alpn_protocols"] = list(alpn)
    if versions:
        common["tls_params"] = versions
    if roots:
        common["combined_validation_context"] = {
            "default_validation_context": validation or {},
            "validation_context_sds_secret_config": _secret(roots),
        }
    context: Json = {"common_tls_context": common, "require_client_certificate": is_required}
    return tls_socket("DownstreamTlsContext", context)


def _secret(name: str) -> Json:
    if name.startswith("kubernetes://"):
        return ads_secret(name)
    if name.startswith("file-"):
        return file_secret(name)
    return own_secret(name)
