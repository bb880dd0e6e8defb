"""Which virtual host an authority finds."""

import pytest

from meshsdk.routing.domains import Domains, without_port
from meshsdk.routing.table import RouteTable
from tests.routing.calls import configuration, request

DOMAINS = Domains(
    (domain, domain)
    for domain in ("a.com", "*.com", "*.a.com", "*-x.com", "a.*", "a.b.*", "*", "*:8080")
)

# Envoy, RouteMatcher::findVirtualHost.
FOUND = [
    ("a.com", "a.com"),
    ("A.COM", "a.com"),
    ("b.a.com", "*.a.com"),
    ("z-x.com", "*-x.com"),
    (".com", "*"),
    ("a.org", "a.*"),
    ("a.b.org", "a.b.*"),
    ("a.b.com", "*.com"),  # a suffix wildcard beats a prefix wildcard
    ("h:8080", "*:8080"),
    ("", "*"),
]


@pytest.mark.parametrize(("authority", "domain"), FOUND)
def test_exact_then_longest_suffix_then_longest_prefix_then_any(
    authority: str, domain: str
) -> None:
    assert DOMAINS.find(authority) == domain


def test_an_authority_that_no_domain_takes_finds_nothing() -> None:
    assert Domains([("a.com", 1)]).find("b.com") is None


@pytest.mark.parametrize(
    ("authority", "host"),
    [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a:", "a")],
)
def test_a_port_ends_a_host(authority: str, host: str) -> None:
    assert without_port(authority) == host


def test_a_configuration_may_ignore_ports() -> None:
    host = {"name": "v", "domains": ["a.test"]}

    plain = RouteTable(configuration(host))
    ignoring = RouteTable(configuration(host, ignore_port_in_host_matching=True))

    asked = request(authority="a.test:81")
    assert plain.virtual_host(asked) is None
    assert ignoring.virtual_host(asked) is not None


def test_a_configuration_may_look_at_another_field() -> None:
    found = RouteTable(configuration({"name": "v", "domains": ["a"]}, vhost_header="X-Host"))

    assert found.virtual_host(request(headers=[("x-host", "a")])) is not None
    assert found.virtual_host(request(authority="a")) is None
