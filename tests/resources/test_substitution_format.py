"""Envoy's substitution format."""

import pytest

from meshsdk.call.address import Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Response
from meshsdk.clock import SystemRandom
from meshsdk.errors import ConfigError
from meshsdk.resources.format_values import Values
from meshsdk.resources.substitution_format import parse_format, parse_header_format


class FakeClock:
    """12.5 s after the call began."""

    def monotonic(self) -> float:
        return 112.5

    def time(self) -> float:
        return 1_700_000_012.75


def _values() -> Values:
    certificate = Certificate(uri_sans=("spiffe://td/a", "spiffe://td/b"), subject="CN=c")
    client = Address("10.0.0.9", 4000)
    connection = Connection(
        Address("10.0.0.1", 8080),
        Peer(None, certificate, client, client),
        "tls",
        "sni.test",
        tls_version="TLSv1.3",
    )
    context = CallContext(FakeClock(), SystemRandom(), connection, start=100.0)
    context.remote = Address("203.0.113.7", 0)
    context.route_name = "r"
    context.flags = ["UF", "URX"]
    context.metadata("ns", "k", {"n": 3.0, "s": "x"})
    context.metadata("ns", "text", "é")
    context.filter_state["key"] = "value"
    request = Request(
        "GET", "h.test:81", "/p?x=1", Headers([("x-a", "abcdef"), ("x-a", "2")]), protocol="h2"
    )
    return Values(
        context,
        request,
        Response(503, Headers([("x-up", "u")])),
        virtual_host_metadata={"ns": {"k": "vh"}},
    )


RENDERED = [
    ("plain 100%%", "plain 100%"),
    ("%REQ(X-A)%|%REQ(:path)%|%REQ(:AUTHORITY)%|%REQ(:method)%", "abcdef|/p?x=1|h.test:81|GET"),
    ("%REQ(x-none?x-a):3%", "abc"),
    ("%REQ(x-none)%", "-"),
    ("%RESP(x-up)%%RESP(:status)%", "u503"),
    ("%QUERY_PARAM(x)%", "1"),
    ("%PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS%", "HTTP/2 503 UF,URX"),
    (
        "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "203.0.113.7:0 203.0.113.7",
    ),
    ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "10.0.0.9:4000"),
    ("%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%", "10.0.0.1:8080 8080"),
    ("%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_SUBJECT%", "spiffe://td/a,spiffe://td/b CN=c"),
    ("%DOWNSTREAM_PEER_DNS_SAN%", "-"),
    ("%REQUESTED_SERVER_NAME% %DOWNSTREAM_TLS_VERSION%", "sni.test TLSv1.3"),
    ("%DYNAMIC_METADATA(ns:k)%", '{"n":3,"s":"x"}'),
    ("%DYNAMIC_METADATA(ns:k:n)%", "3"),
    ("%DYNAMIC_METADATA(ns:text)%", "é".encode().decode("latin-1")),
    ("%METADATA(VIRTUAL_HOST:ns:k)%", "vh"),
    ("%FILTER_STATE(key:PLAIN)% %FILTER_STATE(key)%", 'value "value"'),
    ("%START_TIME%", "2023-11-14T22:13:20.250Z"),
    ("%START_TIME(%s.%3f)%", "1700000000.250"),
    ("%DURATION% %ROUTE_NAME%", "12500 r"),
    ("%UPSTREAM_HOST% %UPSTREAM_CLUSTER%", "- -"),
]


@pytest.mark.parametrize(("text", "rendered"), RENDERED)
def test_a_command_gives_the_value_of_this_call(text: str, rendered: str) -> None:
    assert parse_format(text, "p").render(_values(), "-") == rendered


@pytest.mark.parametrize(
    "text", ["50%", "%", "%REQ%", "%REQ()%", "%req(x)%", "%NOPE%", "%PROTOCOL(x)%", "%REQ(a?b?c)%"]
)
def test_what_envoy_does_not_understand_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_format(text, "p")


def test_headers_understand_the_older_notations_too() -> None:
    metadata = parse_header_format('%DYNAMIC_METADATA(["ns", "k", "s"])%', "p")
    state = parse_header_format("%PER_REQUEST_STATE(key)%", "p")

    assert metadata.render(_values()) == "x"
    assert state.render(_values()) == "value"


def test_a_command_without_code_is_named() -> None:
    found = parse_format("%CEL(request.path)% %TRACE_ID%", "at")

    assert found.not_built == ("at: %CEL%", "at: %TRACE_ID%")
