"""Route tables, requests and contexts for the tests of routing."""

import random
from collections.abc import Mapping, Sequence

from meshsdk.call.address import Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request
from meshsdk.clock import Random
from meshsdk.config.extension import Extensions, Registry
from meshsdk.config.reader import Reader
from meshsdk.resources.route_configuration import RouteConfiguration, parse
from meshsdk.routing.action import Chosen
from meshsdk.routing.table import RouteTable

EXTENSIONS = Extensions(
    Registry("HTTP filter"), Registry("network filter"), Registry("load balancing policy")
)
Json = Mapping[str, object]


class FakeClock:
    """A clock that stands still."""

    def monotonic(self) -> float:
        return 1000.0

    def time(self) -> float:
        return 1_700_000_000.25


class Draws:
    """Chance that comes out as it is told, the last value over and over."""

    def __init__(self, *values: int) -> None:
        self._values = list(values)

    def random(self) -> float:
        return self.randrange(1 << 53) / (1 << 53)

    def randrange(self, stop: int, /) -> int:
        value = self._values.pop(0) if len(self._values) > 1 else self._values[0]
        return value % stop


def configuration(*hosts: Json, **more: object) -> RouteConfiguration:
    """A parsed route configuration."""
    return parse(Reader({"virtual_hosts": list(hosts), **more}, "route_configuration"), EXTENSIONS)


def table(*routes: Json, **host: object) -> RouteTable:
    """A table with one virtual host for every domain."""
    return RouteTable(configuration({"name": "v", "domains": ["*"], "routes": routes, **host}))


def route(match: Json, cluster: str, **more: object) -> Json:
    """A route to a cluster; `more` goes into its action."""
    return {"match": match, "route": {"cluster": cluster, **more}}


def request(
    path: str = "/",
    headers: Sequence[tuple[str, str]] = (),
    *,
    method: str = "GET",
    authority: str = "a.test",
    scheme: str = "http",
) -> Request:
    """A request with an `x-forwarded-proto`, as the connection manager leaves it."""
    fields = [*headers]
    if all(name != "x-forwarded-proto" for name, _ in fields):
        fields.append(("x-forwarded-proto", scheme))
    return Request(method, authority, path, Headers.of(fields), scheme)


def context(
    *,
    certificate: Certificate | None = None,
    source: str = "127.0.0.1",
    chance: Random | None = None,
    is_inbound: bool = True,
) -> CallContext:
    """The context of a call at port 8080."""
    address = Address(source, 40000)
    connection = Connection(
        Address("127.0.0.1", 8080),
        Peer(None, certificate, address, address),
        "raw_buffer" if certificate is None else "tls",
        local_uri_sans=() if certificate is None else ("spiffe://td.test/ns/foo/sa/server",),
    )
    found = CallContext(FakeClock(), chance or random.Random(7), connection, is_inbound)
    found.start = 999.0
    found.remote = address
    return found


def choose(of: RouteTable, what: Request, call: CallContext | None = None) -> Chosen:
    """What a table says of a request that has a route."""
    chosen = of.choose(what, call or context())
    assert chosen is not None
    return chosen
