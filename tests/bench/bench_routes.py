"""What finding a route costs, however many there are: `python -m tests.bench.bench_routes`."""

from collections.abc import Callable

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request
from meshsdk.clock import SystemClock, seeded
from meshsdk.config.extension import Extensions, Registry
from meshsdk.config.reader import Reader
from meshsdk.filters import HTTP_FILTERS, NETWORK_FILTERS
from meshsdk.lb_policies import LB_POLICIES
from meshsdk.resources.route_configuration import parse
from meshsdk.routing.table import RouteTable
from tests.bench.bench_decisions import microseconds

Json = dict[str, object]
_EXTENSIONS = Extensions(
    http_filters=Registry("HTTP filter", HTTP_FILTERS),
    network_filters=Registry("network filter", NETWORK_FILTERS),
    lb_policies=Registry("load balancing policy", LB_POLICIES),
)
_FIELDS = (("accept", "*/*"), ("user-agent", "python-httpx/0.28.1"), ("x-tenant", "blue"))
_HOSTS = (1, 100, 5000)
_ROUTES = 5000


def _host(number: int, routes: list[Json], **more: object) -> Json:
    name = f"service-{number}.shop.svc.cluster.local"
    domains = [name, f"service-{number}.shop", f"service-{number}.shop.svc", f"{name}:80"]
    return {"name": f"{name}:80", "domains": domains, "routes": routes, **more}


def _route(match: Json, **action: object) -> Json:
    return {"match": match, "route": {"cluster": "c", **action}}


def _four() -> list[Json]:
    """As one VirtualService gives them."""
    canary = {"name": "x-canary", "string_match": {"exact": "yes"}}
    return [
        _route({"prefix": "/api/", "headers": [canary]}),
        _route({"path": "/health"}),
        _route({"safe_regex": {"regex": "/v[0-9]+/users/[a-z]+"}}),
        _route({"prefix": "/"}),
    ]


def _table(hosts: list[Json], **more: object) -> RouteTable:
    reader = Reader({"name": "80", "virtual_hosts": hosts, **more}, "route_configuration")
    return RouteTable(parse(reader, _EXTENSIONS))


def _asked(host: int, path: str) -> Request:
    authority = f"service-{host}.shop.svc.cluster.local"
    return Request("GET", authority, path, Headers(_FIELDS))


def _choosing(table: RouteTable, request: Request) -> Callable[[], object]:
    clock, random = SystemClock(), seeded(1)
    context = CallContext(clock, random, Connection(Address("127.0.0.1", 80)))
    chosen = table.choose(request, context)
    assert chosen is not None

    def work() -> object:
        context.draw = None
        return table.choose(request, context)

    return work


def _mutating(table: RouteTable, request: Request) -> Callable[[], object]:
    context = CallContext(SystemClock(), seeded(1), Connection(Address("127.0.0.1", 80)))
    chosen = table.choose(request, context)
    assert chosen is not None
    return lambda: chosen.finalize(request, context)


def _added(name: str, value: str) -> Json:
    header = {"key": name, "value": value}
    return {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def lookups() -> dict[str, float]:
    """Microseconds of each search."""
    found: dict[str, float] = {}
    for count in _HOSTS:
        table = _table([_host(i, _four()) for i in range(count)])
        last = _asked(count - 1, "/ratings/1")
        found[f"{count} virtual hosts of 4 routes, the last route"] = microseconds(
            _choosing(table, last)
        )
    many: list[Json] = [_route({"prefix": f"/item/{i:05}/"}) for i in range(_ROUTES - 1)]
    table = _table([_host(0, [*many, _route({"prefix": "/"})])])
    for path in ("/item/00000/x", f"/item/{_ROUTES - 2:05}/x", "/none"):
        found[f"one virtual host of {_ROUTES} routes, {path}"] = microseconds(
            _choosing(table, _asked(0, path))
        )
    regex: list[Json] = [
        _route({"safe_regex": {"regex": f"/v{i}/[a-z]+(/.*)?"}}) for i in range(10)
    ]
    table = _table([_host(0, regex)])
    found["ten routes by regex, the last one"] = microseconds(
        _choosing(table, _asked(0, "/v9/users/7"))
    )
    return found


def mutations() -> dict[str, float]:
    """Microseconds of the mutations of one request."""
    plain = [_added("x-env", "prod"), _added("x-tenant", "red")]
    formatted = [_added("x-path", "%REQ(:PATH)%"), _added("x-peer", "%DOWNSTREAM_REMOTE_ADDRESS%")]
    rewrite = {"pattern": {"regex": "^/v[0-9]+/(.*)$"}, "substitution": "/\\1"}
    cases: tuple[tuple[str, Json, Json], ...] = (
        ("two header values set", {"request_headers_to_add": plain}, {}),
        ("two header formats set", {"request_headers_to_add": formatted}, {}),
        ("one header removed", {"request_headers_to_remove": ["x-tenant"]}, {}),
        ("prefix and host rewritten", {}, {"prefix_rewrite": "/", "host_rewrite_literal": "b"}),
        ("path rewritten by regex", {}, {"regex_rewrite": rewrite}),
    )
    found: dict[str, float] = {}
    for name, more, action in cases:
        table = _table([_host(0, [_route({"prefix": "/v1"}, **action)], **more)])
        found[name] = microseconds(_mutating(table, _asked(0, "/v1/users/7")))
    return found


def main() -> None:
    """Print every figure."""
    for name, figure in {**lookups(), **mutations()}.items():
        print(f"{name:55} {figure:7.2f} us")


if __name__ == "__main__":
    main()
