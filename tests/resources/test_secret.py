"""Secrets."""

import pytest

from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.resources.certificate_validation import CertificateValidation
from meshsdk.resources.data_source import DataSource
from meshsdk.resources.secret import GenericSecret, Secret, parse
from meshsdk.resources.tls_certificate import TlsCertificate
from tests.resources.listening import EXTENSIONS


def read(**fields: object) -> Secret:
    return parse(Reader({"name": "s", **fields}, "secret"), EXTENSIONS)


def test_a_certificate_has_a_chain_and_a_key_that_is_never_shown() -> None:
    found = read(
        tls_certificate={
            "certificate_chain": {"inline_string": "chain"},
            "private_key": {"inline_string": "SECRET"},
        }
    )

    assert found.value == TlsCertificate(DataSource(b"chain"), DataSource(b"SECRET"))
    assert "SECRET" not in repr(found)


def test_a_validation_context_has_roots() -> None:
    found = read(validation_context={"trusted_ca": {"filename": "/roots.pem"}})

    assert found.value == CertificateValidation(trusted_ca=DataSource(filename="/roots.pem"))


def test_a_generic_secret_is_never_shown() -> None:
    found = read(generic_secret={"secret": {"inline_string": "TOKEN"}})

    assert found.value == GenericSecret(DataSource(b"TOKEN"))
    assert "TOKEN" not in repr(found)


def test_session_ticket_keys_are_needed_by_nobody() -> None:
    assert read(session_ticket_keys={"keys": [{"inline_string": "x"}]}).value is None


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "secret: exactly one of tls_certificate"),
        ({"tls_certificate": {}}, "secret.tls_certificate.certificate_chain: expected a message"),
        ({"generic_secret": {"secret": {"inline_string": ""}}}, "expected bytes, found none"),
        ({"brand_new": {}}, "secret.brand_new: refused"),
    ],
)
def test_a_secret_that_cannot_be_used_is_refused(fields: dict[str, object], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        read(**fields)
