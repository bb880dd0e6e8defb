"""Listeners, filter chains and what chooses between them."""

import pytest

from meshsdk.call.address import Address
from meshsdk.errors import ConfigError
from meshsdk.resources.filter_chain_match import FilterChainMatch
from meshsdk.resources.tcp_proxy import TcpProxy
from tests.resources.listening import NONE, PREFIX, TCP_PROXY, chain, read


def test_a_listener_knows_all_its_addresses() -> None:
    found = read(
        address={"socket_address": {"address": "10.0.0.1", "port_value": 80}},
        additional_addresses=[
            {"address": {"socket_address": {"address": "fd00::1", "port_value": 80}}}
        ],
        filter_chains=[chain()],
    )

    assert found.addresses == (Address("10.0.0.1", 80), Address("fd00::1", 80))
    assert found.traffic_direction == "UNSPECIFIED"
    assert not found.is_virtual


@pytest.mark.parametrize(
    "fields",
    [
        {"use_original_dst": True},
        {
            "listener_filters": [
                {
                    "name": "envoy.filters.listener.original_dst",
                    "typed_config": {"@type": f"{PREFIX}listener.original_dst.v3.OriginalDst"},
                }
            ]
        },
    ],
)
def test_captured_connections_come_to_a_virtual_listener(fields: dict[str, object]) -> None:
    assert read(filter_chains=[chain()], **fields).is_virtual


def test_a_match_has_every_criterion() -> None:
    found = read(
        filter_chains=[
            chain(
                {
                    "destination_port": 8080,
                    "server_names": ["*.Example.com", "b"],
                    "transport_protocol": "tls",
                    "application_protocols": ["istio"],
                    "prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}],
                    "source_type": "EXTERNAL",
                    "source_ports": [1, 2],
                }
            )
        ]
    )

    match = found.filter_chains[0].match
    assert match.destination_port == 8080
    assert match.server_names == ("*.example.com", "b")
    assert match.prefix_ranges[0].contains("10.9.9.9")
    assert (match.source_type, match.source_ports) == ("EXTERNAL", (1, 2))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({}, {}),
        ({"destination_port": 80}, {"destination_port": 80}),
        ({"server_names": ["a", "b"]}, {"server_names": ["c", "B"]}),
    ],
)
def test_two_chains_for_the_same_connections_are_refused(
    one: dict[str, object], two: dict[str, object]
) -> None:
    with pytest.raises(
        ConfigError, match=r"filter_chains\[1\]\.filter_chain_match: takes the same"
    ):
        read(filter_chains=[chain(one), chain(two)])


@pytest.mark.parametrize(
    ("match", "path"),
    [
        ({"address_suffix": "1"}, "address_suffix: refused"),
        ({"server_names": ["a*.b"]}, r"server_names\[0\]: expected a name or \*\.name"),
        ({"destination_port": 0}, "destination_port: expected at least 1"),
        ({"brand_new": 1}, "brand_new: refused: unlisted"),
    ],
)
def test_a_match_that_cannot_be_honoured_is_refused(match: dict[str, object], path: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"^listener\.filter_chains\[0\]\.filter_chain_match\.{path}"
    ):
        read(filter_chains=[chain(match)])


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (NONE, "listener.filter_chains: expected at least one filter chain"),
        ({"filter_chains": [{"filters": list[object]()}]}, "filters: expected at least 1 item"),
        (
            {"filter_chains": [chain(None, TCP_PROXY, TCP_PROXY)]},
            "filters[0]: terminal filter 'tcp' must be the last",
        ),
        (
            {"filter_chains": [chain()], "filter_chain_matcher": {"on_no_match": NONE}},
            "listener.filter_chain_matcher: refused",
        ),
        (
            {
                "filter_chains": [chain()],
                "listener_filters": [
                    {
                        "name": "proxy",
                        "typed_config": {
                            "@type": f"{PREFIX}listener.proxy_protocol.v3.ProxyProtocol"
                        },
                    }
                ],
            },
            "listener.listener_filters[0]: no listener filter takes",
        ),
    ],
)
def test_what_would_weaken_a_listener_is_refused_by_name(
    fields: dict[str, object], error: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        read(**fields)

    assert error in str(raised.value)


def test_inspectors_look_where_they_are_not_disabled() -> None:
    inspector = {
        "name": "envoy.filters.listener.http_inspector",
        "typed_config": {"@type": f"{PREFIX}listener.http_inspector.v3.HttpInspector"},
        "filter_disabled": {
            "or_match": {
                "rules": [
                    {"destination_port_range": {"start": 8080, "end": 8081}},
                    {"not_match": {"destination_port_range": {"start": 1, "end": 9000}}},
                ]
            }
        },
    }

    filters = read(filter_chains=[chain()], listener_filters=[inspector]).listener_filters

    assert [filters.inspects_http(port) for port in (8079, 8080, 8081, 9000)] == [
        True,
        False,
        True,
        False,
    ]
    assert not filters.inspects_tls(8079)


def test_telemetry_filters_before_the_terminal_one_are_left_out() -> None:
    exchange = {
        "name": "istio.metadata_exchange",
        "typed_config": {
            "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
            "type_url": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
            "value": {"protocol": "istio-peer-exchange"},
        },
    }
    policy = {
        "name": "envoy.filters.network.rbac",
        "typed_config": {
            "@type": f"{PREFIX}network.rbac.v3.RBAC",
            "stat_prefix": "tcp.",
            "rules": NONE,
        },
    }

    found = read(filter_chains=[chain(None, exchange, policy, TCP_PROXY)]).filter_chains[0]

    assert len(found.network_filters) == 1
    assert found.match == FilterChainMatch()


def test_an_unknown_network_filter_is_refused_by_name() -> None:
    unknown = {"name": "x", "typed_config": {"@type": "type.googleapis.com/acme.Tap"}}

    with pytest.raises(ConfigError, match=r"takes type\.googleapis\.com/acme\.Tap \(filter 'x'\)"):
        read(filter_chains=[chain(None, unknown, TCP_PROXY)])


def test_tcp_connections_go_by_the_weights() -> None:
    clusters = [{"name": "a", "weight": 9}, {"name": "b", "weight": 1}]
    proxy = {
        "name": "tcp",
        "typed_config": {
            "@type": f"{PREFIX}network.tcp_proxy.v3.TcpProxy",
            "weighted_clusters": {"clusters": clusters},
        },
    }

    class Draws:
        def __init__(self) -> None:
            self.left = iter(range(10))

        def random(self) -> float:
            return 0.0

        def randrange(self, stop: int, /) -> int:
            assert stop == 10
            return next(self.left)

    terminal = read(filter_chains=[chain(None, proxy)]).filter_chains[0].terminal
    assert isinstance(terminal, TcpProxy)
    draws = Draws()
    picked = [terminal.pick_cluster(draws) for _ in range(10)]

    assert picked == ["a"] * 9 + ["b"]
    assert terminal.cluster_names == {"a", "b"}


def test_traffic_fields_without_code_are_accepted_and_reported() -> None:
    proxy = {
        "name": "tcp",
        "typed_config": {
            "@type": f"{PREFIX}network.tcp_proxy.v3.TcpProxy",
            "cluster": "c",
            "tunneling_config": {"hostname": "h"},
        },
    }

    found = read(filter_chains=[chain(None, proxy)])

    path = "listener.filter_chains[0].filters[0].typed_config.tunneling_config"
    assert found.reports == ((path, "not built"),)
