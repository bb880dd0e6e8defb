"""Which filter chain takes a connection: Envoy's elimination."""

import pytest

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection, Peer
from meshsdk.config.reader import Reader
from meshsdk.flow.chains import find_chain
from meshsdk.matching.cidr import parse_cidr
from meshsdk.resources.listener import FilterChain, FilterChainMatch
from meshsdk.resources.tcp_proxy import TcpProxy

ISTIO = ("istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2")
HTTP_ISTIO = ("istio-http/1.0", "istio-http/1.1", "istio-h2")


def chain(name: str, **match: object) -> FilterChain:
    return FilterChain(name, FilterChainMatch(**match), None, (), TcpProxy((("c", 1),)))  # type: ignore[arg-type]


def connection(
    port: int = 8080,
    host: str = "10.0.0.1",
    *,
    transport: str = "raw_buffer",
    sni: str = "",
    alpn: tuple[str, ...] = (),
    peer: Address = Address("10.9.9.9", 40000),
) -> Connection:
    return Connection(
        Address(host, port),
        Peer(physical=peer, connection=peer),
        transport,  # type: ignore[arg-type]
        sni,
        alpn,
    )


def cidr(prefix: str, length: int) -> object:
    return parse_cidr(Reader({"address_prefix": prefix, "prefix_len": length}))


# FEED.md 3.8: the inbound table, (mode and port kind, client) -> chain.
STRICT_HTTP = (chain("mtls", destination_port=8080, transport_protocol="tls"),)
PERMISSIVE_HTTP = (
    chain("mtls", destination_port=8080, transport_protocol="tls", application_protocols=ISTIO),
    chain("plain", destination_port=8080, transport_protocol="raw_buffer"),
)
PERMISSIVE_AUTO = (
    chain(
        "http-mtls",
        destination_port=8080,
        transport_protocol="tls",
        application_protocols=HTTP_ISTIO,
    ),
    chain(
        "http-plain",
        destination_port=8080,
        transport_protocol="raw_buffer",
        application_protocols=("http/1.1", "h2c"),
    ),
    chain(
        "tcp-mtls",
        destination_port=8080,
        transport_protocol="tls",
        application_protocols=("istio", "istio-peer-exchange"),
    ),
    chain("tcp-plain", destination_port=8080, transport_protocol="raw_buffer"),
    chain("tcp-passed-through", destination_port=8080, transport_protocol="tls"),
)


@pytest.mark.parametrize(
    ("chains", "client", "expected"),
    [
        (STRICT_HTTP, connection(), None),
        (STRICT_HTTP, connection(transport="tls"), "mtls"),
        (PERMISSIVE_HTTP, connection(), "plain"),
        (PERMISSIVE_HTTP, connection(transport="tls", alpn=("istio-http/1.1", "istio")), "mtls"),
        (PERMISSIVE_HTTP, connection(transport="tls", alpn=("h2", "http/1.1")), None),
        (PERMISSIVE_HTTP, connection(transport="tls"), None),
        (
            PERMISSIVE_AUTO,
            connection(transport="tls", alpn=("istio-h2", "istio", "h2")),
            "http-mtls",
        ),
        (PERMISSIVE_AUTO, connection(transport="tls", alpn=("istio",)), "tcp-mtls"),
        (PERMISSIVE_AUTO, connection(transport="tls", alpn=("h2",)), "tcp-passed-through"),
        (PERMISSIVE_AUTO, connection(alpn=("http/1.1",)), "http-plain"),
        (PERMISSIVE_AUTO, connection(), "tcp-plain"),
    ],
)
def test_istio_modes_lead_to_the_chains_of_the_feed(
    chains: tuple[FilterChain, ...], client: Connection, expected: str | None
) -> None:
    found = find_chain(chains, client)

    assert (found.name if found else None) == expected


def test_an_exact_server_name_beats_a_wildcard_and_a_longer_wildcard_a_shorter() -> None:
    chains = (
        chain("any", transport_protocol="tls"),
        chain("short", server_names=("*.com",)),
        chain("long", server_names=("*.example.com",)),
        chain("exact", server_names=("a.example.com",)),
    )

    found = [
        find_chain(chains, connection(transport="tls", sni=sni))
        for sni in ("a.example.com", "b.example.com", "b.com", "")
    ]

    assert [c.name if c else None for c in found] == ["exact", "long", "short", "any"]


def test_there_is_no_way_back_from_a_more_specific_field() -> None:
    chains = (
        chain("port", destination_port=8080, transport_protocol="tls"),
        chain("open", transport_protocol="raw_buffer"),
    )

    assert find_chain(chains, connection(8080)) is None
    found = find_chain(chains, connection(9090))
    assert found is not None
    assert found.name == "open"


def test_the_longest_prefix_of_the_destination_wins() -> None:
    chains = (
        chain("wide", prefix_ranges=(cidr("10.0.0.0", 8),)),
        chain("narrow", prefix_ranges=(cidr("10.0.0.0", 24),)),
        chain("other"),
    )

    names = [
        found.name if (found := find_chain(chains, connection(host=host))) else None
        for host in ("10.0.0.1", "10.1.0.1", "192.0.2.1")
    ]

    assert names == ["narrow", "wide", "other"]


def test_loopback_peers_are_told_from_external_ones() -> None:
    chains = (
        chain("local", source_type="SAME_IP_OR_LOOPBACK"),
        chain("external", source_type="EXTERNAL"),
    )

    local = find_chain(chains, connection(peer=Address("127.0.0.1", 1)))
    external = find_chain(chains, connection(peer=Address("192.0.2.9", 1)))

    assert local is not None
    assert external is not None
    assert (local.name, external.name) == ("local", "external")
