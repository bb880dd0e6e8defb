"""Transport sockets."""

import base64

import pytest

from meshsdk.call.certificate import Certificate
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.resources.certificate_validation import CertificateValidation
from meshsdk.resources.data_source import DataSource
from meshsdk.resources.tls import DownstreamTls, UpstreamTls, parse_transport_socket, secrets
from meshsdk.resources.tls_certificate import CertificateProvider, SdsSecret, TlsCertificate
from tests.resources.listening import EXTENSIONS, NONE

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
SDS = {"api_config_source": {"api_type": "GRPC"}, "initial_fetch_timeout": "0s"}
ROOTS = {"trusted_ca": {"inline_string": "roots"}}


def read(kind: str, **context: object) -> UpstreamTls | DownstreamTls | None:
    config = {"@type": f"{TLS}{kind}", **context}
    socket = {"name": "envoy.transport_sockets.tls", "typed_config": config}
    return parse_transport_socket(Reader(socket, "socket"), EXTENSIONS)


def upstream(common: dict[str, object] | None = None, **context: object) -> UpstreamTls:
    found = read("UpstreamTlsContext", common_tls_context=common or {}, **context)
    assert isinstance(found, UpstreamTls)
    return found


def validation(**context: object) -> CertificateValidation:
    found = upstream({"validation_context": ROOTS | context}).validation
    assert found is not None
    return found


def test_raw_buffer_is_plaintext() -> None:
    url = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    name = "envoy.transport_sockets.raw_buffer"
    typed = Reader({"name": "x", "typed_config": {"@type": url}})

    assert parse_transport_socket(typed, EXTENSIONS) is None
    assert parse_transport_socket(Reader({"name": name}), EXTENSIONS) is None


def test_an_unknown_socket_is_refused_by_name() -> None:
    socket = {"name": "x", "typed_config": {"@type": "type.googleapis.com/acme.Alts"}}

    with pytest.raises(ConfigError, match=r"no transport socket takes type\.googleapis\.com/acme"):
        parse_transport_socket(Reader(socket), EXTENSIONS)


def test_istios_mutual_tls_keeps_names_of_secrets_and_pinned_identities() -> None:
    ours = "spiffe://td/ns/a/sa/b"
    found = upstream(
        {
            "alpn_protocols": ["istio-peer-exchange", "istio"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": SDS}],
            "combined_validation_context": {
                "default_validation_context": {"match_subject_alt_names": [{"exact": ours}]},
                "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": SDS},
            },
        },
        sni="outbound_.80_._.b",
    )

    assert (found.sni, found.alpn) == ("outbound_.80_._.b", ("istio-peer-exchange", "istio"))
    assert [s.name for s in secrets(found)] == ["default", "ROOTCA"]
    assert not any(s.by_stream for s in secrets(found))
    assert found.validation is not None
    (san,) = found.validation.san_matchers
    assert san(Certificate(uri_sans=(ours,)))
    assert not san(Certificate(uri_sans=(f"{ours}x",)))


@pytest.mark.parametrize(
    ("name", "ads", "by_stream"),
    [
        ("default", True, False),
        ("file-cert:/a~/b", True, False),
        ("file-root:system", True, False),
        ("kubernetes://gateway", True, True),
        ("kubernetes://gateway", False, False),
    ],
)
def test_only_secrets_of_the_stream_are_subscribed(name: str, ads: bool, by_stream: bool) -> None:
    source: dict[str, object] = {"ads": NONE} if ads else dict(SDS)

    found = upstream({"validation_context_sds_secret_config": {"name": name, "sds_config": source}})

    assert [s.by_stream for s in secrets(found)] == [by_stream]


def test_a_server_wants_a_client_certificate_that_is_verified() -> None:
    found = read(
        "DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context={
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": "/chain.pem"},
                    "private_key": {"inline_bytes": base64.b64encode(b"k").decode()},
                }
            ],
            "validation_context": ROOTS,
        },
    )

    assert isinstance(found, DownstreamTls)
    assert found.certificate == TlsCertificate(DataSource(filename="/chain.pem"), DataSource(b"k"))
    with pytest.raises(ConfigError, match="require_client_certificate: refused"):
        read(
            "DownstreamTlsContext",
            require_client_certificate=True,
            common_tls_context={"tls_certificate_provider_instance": {}},
        )


def test_no_repr_shows_a_key() -> None:
    certificate = {
        "certificate_chain": {"inline_string": "chain"},
        "private_key": {"inline_string": "SECRET"},
    }

    assert "SECRET" not in repr(upstream({"tls_certificates": [certificate]}))


def test_grpcs_certificate_providers_are_names() -> None:
    new = {"instance_name": "default", "certificate_name": "ROOTCA"}

    found = upstream(
        {
            "tls_certificate_certificate_provider_instance": {"instance_name": "old"},
            "tls_certificate_provider_instance": {"instance_name": "default"},
            "combined_validation_context": {
                "default_validation_context": {"ca_certificate_provider_instance": new},
                "validation_context_certificate_provider_instance": new,
            },
        }
    )

    assert found.certificate == CertificateProvider("default")
    assert found.validation is not None
    assert found.validation.provider == CertificateProvider("default", "ROOTCA")


def test_a_spiffe_validator_has_a_bundle_by_trust_domain() -> None:
    config = {
        "@type": f"{TLS}SPIFFECertValidatorConfig",
        "trust_domains": [
            {"name": "b", "trust_bundle": {"inline_string": "B"}},
            {"name": "a", "trust_bundle": {"filename": "/a"}},
        ],
    }
    custom = {"name": "envoy.tls.cert_validator.spiffe", "typed_config": config}

    found = upstream({"validation_context": {"custom_validator_config": custom}}).validation

    assert found is not None
    assert found.spiffe_bundles == (("a", DataSource(filename="/a")), ("b", DataSource(b"B")))
    assert found.has_roots


def test_what_a_secret_brings_is_merged_into_the_default_context() -> None:
    default = validation(match_subject_alt_names=[{"exact": "a"}])
    dynamic = CertificateValidation(trusted_ca=DataSource(b"new"), spki_sha256=frozenset("x"))

    merged = default.merged(dynamic)

    assert merged.trusted_ca == DataSource(b"new")
    assert len(merged.san_matchers) == 1
    assert merged.spki_sha256 == {"x"}


@pytest.mark.parametrize(
    ("kind", "matcher", "certificate", "allowed"),
    [
        ("URI", {"prefix": "spiffe://a/"}, Certificate(uri_sans=("spiffe://a/b",)), True),
        ("URI", {"prefix": "spiffe://a/"}, Certificate(dns_sans=("spiffe://a/b",)), False),
        ("DNS", {"exact": "x.example.com"}, Certificate(dns_sans=("*.example.com",)), True),
        ("DNS", {"exact": "x.y.example.com"}, Certificate(dns_sans=("*.example.com",)), False),
        ("IP_ADDRESS", {"exact": "10.0.0.1"}, Certificate(ip_sans=("10.0.0.1",)), True),
    ],
)
def test_a_typed_name_matches_its_type_only(
    kind: str, matcher: dict[str, object], certificate: Certificate, allowed: bool
) -> None:
    entry = {"san_type": kind, "matcher": matcher}

    (san,) = validation(match_typed_subject_alt_names=[entry]).san_matchers

    assert san(certificate) is allowed


def test_hashes_are_read_with_and_without_colons() -> None:
    digest = "ab" * 32
    spki = base64.b64encode(b"s" * 32).decode()
    colons = ":".join([digest[i : i + 2].upper() for i in range(0, 64, 2)])

    found = validation(verify_certificate_hash=[colons, digest], verify_certificate_spki=[spki])

    assert found.certificate_sha256 == {digest}
    assert found.spki_sha256 == {spki}


@pytest.mark.parametrize(
    ("context", "error"),
    [
        ({"allow_expired_certificate": True}, "allow_expired_certificate: refused"),
        ({"trust_chain_verification": "ACCEPT_UNTRUSTED"}, "trust_chain_verification: refused"),
        ({"require_signed_certificate_timestamp": True}, "require_signed_certificate_timestamp"),
        ({"only_verify_leaf_cert_crl": True}, "only_verify_leaf_cert_crl: refused"),
        ({"max_verify_depth": 1}, "max_verify_depth: refused"),
        ({"verify_certificate_hash": ["ab"]}, r"verify_certificate_hash\[0\]: expected a SHA-256"),
        ({"brand_new": {}}, "brand_new: refused: unlisted"),
        (
            {"custom_validator_config": {"name": "x", "typed_config": {"@type": "a/b.C"}}},
            "no certificate validator takes a/b.C",
        ),
    ],
)
def test_a_validation_that_would_be_weaker_here_is_refused_by_name(
    context: dict[str, object], error: str
) -> None:
    with pytest.raises(ConfigError, match=error):
        validation(**context)


@pytest.mark.parametrize(
    ("context", "error"),
    [
        ({"allow_renegotiation": True}, "allow_renegotiation: refused"),
        ({"auto_sni_san_validation": True}, "auto_sni_san_validation: expected a validation"),
        (
            {"common_tls_context": {"tls_params": {"signature_algorithms": ["x"]}}},
            "tls_params.signature_algorithms: refused",
        ),
        (
            {"common_tls_context": {"tls_params": {"tls_maximum_protocol_version": "TLSv1_1"}}},
            "tls_maximum_protocol_version: expected TLSv1_2 or TLSv1_3",
        ),
        (
            {
                "common_tls_context": {
                    "validation_context": {"match_subject_alt_names": [{"exact": "a"}]}
                }
            },
            "validation_context: expected a trusted CA",
        ),
        ({"common_tls_context": {"custom_handshaker": {}}}, "custom_handshaker: refused"),
    ],
)
def test_a_context_that_would_be_weaker_here_is_refused_by_name(
    context: dict[str, object], error: str
) -> None:
    with pytest.raises(ConfigError, match=error):
        read("UpstreamTlsContext", **context)


def test_equal_contexts_have_equal_digests_and_others_do_not() -> None:
    one, same = (upstream({"validation_context": ROOTS}, sni="a") for _ in range(2))
    other = upstream({"validation_context": ROOTS}, sni="b")

    assert one == same
    assert hash(one) == hash(same)
    assert one.digest != other.digest


def test_a_secret_without_a_source_is_none_of_the_stream() -> None:
    found = upstream({"validation_context_sds_secret_config": {"name": "x"}})

    (secret,) = secrets(found)
    assert secret == SdsSecret("x", secret.source)
    assert not secret.by_stream
