"""Secrets (SDS): certificates, validation contexts, plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.resources.certificate_validation import (
    CertificateValidation,
    parse_certificate_validation,
)
from meshsdk.resources.data_source import DataSource, optional_data_source, parse_data_source
from meshsdk.resources.tls_certificate import TlsCertificate, parse_tls_certificate

TYPE_URL: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
SECRET: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.Secret",
    {
        **honoured("name", "tls_certificate", "validation_context", "generic_secret"),
        "session_ticket_keys": ignored("no session is resumed"),
    },
    security=True,
)
GENERIC_SECRET: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.GenericSecret",
    honoured("secret", "secrets"),
    security=True,
)
TABLES: Final = (SECRET, GENERIC_SECRET)


@dataclass(frozen=True, slots=True)
class GenericSecret:
    """Values that filters use: HMAC keys, tokens."""

    value: DataSource | None = field(default=None, repr=False)
    values: Mapping[str, DataSource] = field(default_factory=dict[str, DataSource], repr=False)


SecretValue: TypeAlias = TlsCertificate | CertificateValidation | GenericSecret | None
"""None: session ticket keys, which nobody needs."""


@dataclass(frozen=True, slots=True, eq=False)
class Secret:
    """One secret. Its repr shows no key."""

    name: str
    value: SecretValue


def parse(reader: Reader, extensions: Extensions) -> Secret:
    """A Secret message."""
    del extensions
    check(reader, SECRET)
    kind = reader.required(
        "tls_certificate", "session_ticket_keys", "validation_context", "generic_secret"
    )
    return Secret(reader.string("name"), _value(kind, reader.required_message(kind)))


def _value(kind: str, reader: Reader) -> SecretValue:
    match kind:
        case "tls_certificate":
            return parse_tls_certificate(reader)
        case "validation_context":
            return parse_certificate_validation(reader)
        case "generic_secret":
            check(reader, GENERIC_SECRET)
            values = {name: parse_data_source(item) for name, item in reader.entries("secrets")}
            return GenericSecret(optional_data_source(reader, "secret"), values)
        case _:
            return None
