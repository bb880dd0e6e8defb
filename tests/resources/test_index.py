"""The index of resource types and the tables behind it."""

from meshsdk.config.fields import Use
from meshsdk.resources import RESOURCE_TYPES, TABLES
from meshsdk.wire.pool import find_message_class, full_name


def test_every_type_of_the_index_is_a_message_that_wire_knows() -> None:
    assert [kind.short_name for kind in RESOURCE_TYPES] == [
        "LDS",
        "RDS",
        "CDS",
        "EDS",
        "SDS",
        "ECDS",
        "NDS",
    ]
    assert all(find_message_class(full_name(kind.type_url)) for kind in RESOURCE_TYPES)


# Tables of the files of listeners, TLS and names; other files have tests of their own.
OURS = (
    "envoy.config.listener.v3.",
    "envoy.extensions.transport_sockets.tls.v3.",
    "envoy.extensions.filters.network.",
    "envoy.config.core.v3.ConfigSource",
    "istio.networking.nds.v1.",
)


def test_every_row_is_a_field_and_every_field_has_a_row() -> None:
    for table in TABLES:
        if not table.message.startswith(OURS):
            continue
        message = find_message_class(table.message)
        assert message is not None, table.message

        assert {field.name for field in message.DESCRIPTOR.fields} == set(table.fields)


def test_nothing_that_decides_over_security_is_only_not_built() -> None:
    secure = [table for table in TABLES if table.security]

    waiting = [
        f"{table.message}.{name}"
        for table in secure
        for name, row in table.fields.items()
        if row.use is Use.NOT_BUILT
    ]

    assert waiting == []
