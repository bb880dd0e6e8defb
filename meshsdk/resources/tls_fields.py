"""What becomes of each field of the TLS messages; security: an unlisted field is refused."""

from typing import Final

from meshsdk.config.fields import MessageTable, honoured, ignored, refused
from meshsdk.resources.certificate_validation import (
    CERTIFICATE_VALIDATION,
    SPIFFE_VALIDATOR,
    TRUST_DOMAIN,
)
from meshsdk.resources.config_source import CONFIG_SOURCE
from meshsdk.resources.data_source import DATA_SOURCE
from meshsdk.resources.subject_alt_names import SAN_MATCHER
from meshsdk.resources.tls_certificate import (
    OLD_PROVIDER_INSTANCE,
    PROVIDER_INSTANCE,
    SDS_SECRET_CONFIG,
    TLS_CERTIFICATE,
)

TRANSPORT_SOCKET: Final = MessageTable(
    "envoy.config.core.v3.TransportSocket", honoured("name", "typed_config"), security=True
)
UPSTREAM_TLS: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    {
        **honoured("common_tls_context", "sni", "auto_host_sni", "auto_sni_san_validation"),
        "allow_renegotiation": refused("renegotiation is never allowed"),
        "max_session_keys": ignored("no session is resumed"),
        "enforce_rsa_key_usage": ignored("OpenSSL looks at the key usage always"),
    },
    security=True,
)
DOWNSTREAM_TLS: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    {
        **honoured("common_tls_context", "require_client_certificate"),
        "require_sni": refused("clients without SNI cannot be refused"),
        "session_ticket_keys": ignored("no session is resumed"),
        "session_ticket_keys_sds_secret_config": ignored("no session is resumed"),
        "disable_stateless_session_resumption": ignored("no session is resumed"),
        "disable_stateful_session_resumption": ignored("no session is resumed"),
        "session_timeout": ignored("no session is resumed"),
        "ocsp_staple_policy": refused("no staple is sent"),
        "full_scan_certs_on_sni_mismatch": ignored("there is one certificate"),
        "prefer_client_ciphers": ignored("every cipher of the list is allowed"),
    },
    security=True,
)
COMMON_TLS: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext",
    {
        **honoured(
            "tls_params",
            "tls_certificates",
            "tls_certificate_sds_secret_configs",
            "tls_certificate_provider_instance",
            "tls_certificate_certificate_provider_instance",
            "validation_context",
            "validation_context_sds_secret_config",
            "combined_validation_context",
            "validation_context_certificate_provider_instance",
            "alpn_protocols",
        ),
        "tls_certificate_certificate_provider": refused("unknown certificate provider"),
        "validation_context_certificate_provider": refused("unknown certificate provider"),
        "custom_tls_certificate_selector": refused("unknown certificate selector"),
        "custom_handshaker": refused("unknown handshaker"),
        "key_log": ignored("TLS secrets are never written"),
    },
    security=True,
)
COMBINED_VALIDATION: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext",
    {
        **honoured(
            "default_validation_context",
            "validation_context_sds_secret_config",
            "validation_context_certificate_provider_instance",
        ),
        "validation_context_certificate_provider": refused("unknown certificate provider"),
    },
    security=True,
)
TLS_PARAMETERS: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.TlsParameters",
    {
        **honoured(
            "tls_minimum_protocol_version",
            "tls_maximum_protocol_version",
            "cipher_suites",
            "ecdh_curves",
        ),
        "signature_algorithms": refused("signature algorithms cannot be chosen"),
        "compliance_policies": refused("no compliance policy is known"),
    },
    security=True,
)
TABLES: Final = (
    TRANSPORT_SOCKET,
    UPSTREAM_TLS,
    DOWNSTREAM_TLS,
    COMMON_TLS,
    COMBINED_VALIDATION,
    TLS_PARAMETERS,
    CERTIFICATE_VALIDATION,
    SPIFFE_VALIDATOR,
    TRUST_DOMAIN,
    SAN_MATCHER,
    TLS_CERTIFICATE,
    SDS_SECRET_CONFIG,
    PROVIDER_INSTANCE,
    OLD_PROVIDER_INSTANCE,
    DATA_SOURCE,
    CONFIG_SOURCE,
)
