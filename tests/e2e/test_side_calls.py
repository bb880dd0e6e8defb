"""The same calls through a real Envoy and through the SDK, asking the same authorization and rate
limit services: what those are asked, what goes on, and what comes back."""

import base64
import json
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from meshsdk.integrations.httpx import MeshTransport
from meshsdk.mesh import Mesh
from meshsdk.wire.grpc_server import GrpcServer, ServerCall
from meshsdk.wire.unary import serve_unary
from tests.e2e.envoy import envoy_binary, envoy_of
from tests.e2e.serving import bound_socket, port_of
from tests.integrations.side_mesh import FILTERS, cluster, named
from tests.upstream.raw_server import Served, serving

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Json = Mapping[str, Any]
_HCM = f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"
# What one of the two adds to answers and requests, or what differs from call to call.
_UNLIKE = frozenset(
    [
        "date",
        "server",
        "x-envoy-upstream-service-time",
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-internal",
        "connection",
        "transfer-encoding",
        "x-forwarded-proto",
        "x-forwarded-for",
    ]
)
_GRPC = {"envoy_grpc": {"cluster_name": "grpc", "authority": "authz.test"}, "timeout": "5s"}
_URI = {"uri": "http://authz.test", "cluster": "http", "timeout": "5s"}


def _option(name: str, value: str, **more: object) -> Json:
    return {"header": {"key": name, "value": value}, **more}


GRPC_ANSWERS: Mapping[str, Json] = {
    "/ok": {},
    "/change": {
        "ok_response": {
            "headers": [
                _option("x-a", "new"),
                _option("x-b", "new", append=True),
                _option("x-none", "new", append=True),
                _option("x-abs", "new", append_action="ADD_IF_ABSENT"),
            ],
            "headers_to_remove": ["x-gone", "host"],
            "response_headers_to_add": [
                _option("x-up", "r"),
                _option("x-set", "z", append_action="OVERWRITE_IF_EXISTS_OR_ADD"),
                _option("x-ow", "r", append_action="OVERWRITE_IF_EXISTS"),
            ],
            "query_parameters_to_set": [{"key": "a", "value": "9"}],
            "query_parameters_to_remove": ["b"],
        }
    },
    "/deny": {"status": {"code": 7}},
    "/denied": {
        "status": {"code": 16},
        "denied_response": {
            "status": {"code": "Unauthorized"},
            "headers": [
                _option("x-d", "1"),
                _option("x-d", "2"),
                _option("x-e", "1", append=True),
                _option("content-type", "text/html"),
            ],
            "body": "<no>",
        },
    },
    "/error": {
        "status": {"code": 13},
        "error_response": {"status": {"code": "BadGateway"}, "body": "eb"},
    },
}
HTTP_ANSWERS: Mapping[bytes, tuple[bytes, bytes, bytes]] = {
    b"/ok": (
        b"200 OK",
        b"x-a: 1\r\nx-b: 2\r\nx-c: 3\r\nx-envoy-auth-headers-to-remove: x-gone\r\n",
        b"",
    ),
    b"/deny": (b"401 No", b"x-a: 1\r\nwww-authenticate: Basic\r\nx-b: 2\r\n", b"<no>"),
    b"/moved": (b"302 Found", b"location: http://l.test/\r\n", b""),
    b"/error": (b"500 Oops", b"", b"oops"),
}
LIMITS: Mapping[str, Json] = {
    "under": {
        "overall_code": "OK",
        "statuses": [
            {
                "code": "OK",
                "current_limit": {"requests_per_unit": 10, "unit": "MINUTE", "name": "nm"},
                "limit_remaining": 3,
                "duration_until_reset": "30.5s",
            },
        ],
        "request_headers_to_add": [{"key": "x-q", "value": "1"}],
        "response_headers_to_add": [{"key": "x-r", "value": "1"}],
    },
    "over": {
        "overall_code": "OVER_LIMIT",
        "raw_body": base64.b64encode(b"too many").decode(),
        "statuses": [
            {
                "code": "OVER_LIMIT",
                "current_limit": {"requests_per_unit": 5, "unit": "HOUR"},
                "duration_until_reset": "100s",
            },
        ],
    },
}


@dataclass
class Services:
    """What stands behind both: the services that are asked, and the one that is called."""

    asked: list[Json] = field(default_factory=list[Json])
    served: list[Json] = field(default_factory=list[Json])

    def check(self, request: dict[str, object], call: ServerCall) -> Json:
        attributes = cast("Any", request)["attributes"]
        shown = attributes["request"]["http"]
        self.asked.append(
            {
                **{name: shown.get(name) for name in ("method", "path", "host", "body", "size")},
                "headers": {n: v for n, v in shown["headers"].items() if n not in _UNLIKE},
                "context": attributes.get("context_extensions"),
                "authority": call.metadata().get("x-im"),
            }
        )
        return GRPC_ANSWERS[shown["path"].partition("?")[0]]

    def limit(self, request: dict[str, object], call: ServerCall) -> Json:
        self.asked.append({**request, "x-im": call.metadata().get("x-im")})
        return LIMITS[str(request["domain"])]

    def authorize(self, served: Served) -> None:
        while head := served.head():
            method, path, fields, body = _read(served, head)
            self.asked.append({"method": method, "path": path, "headers": fields, "body": body})
            status, more, answer = HTTP_ANSWERS[path.encode().removeprefix(b"/pre")]
            length = b"content-length: %d\r\n" % len(answer)
            served.send(b"HTTP/1.1 %b\r\n%b%b\r\n%b" % (status, more, length, answer))

    def app(self, served: Served) -> None:
        while head := served.head():
            method, path, fields, body = _read(served, head)
            self.served.append({"method": method, "path": path, "headers": fields, "body": body})
            served.send(b"HTTP/1.1 200 OK\r\nx-up: 1\r\nx-set: up\r\ncontent-length: 2\r\n\r\nok")


def _read(served: Served, head: bytes) -> tuple[str, str, dict[str, list[str]], bytes]:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    fields: dict[str, list[str]] = {}
    for line in filter(None, lines):
        name, _, value = line.partition(": ")
        if name.lower() not in _UNLIKE:
            fields.setdefault(name.lower(), []).append(value)
    length = int(fields.get("content-length", ["0"])[0])
    return method, path, {n: sorted(v) for n, v in fields.items()}, served.body(length)


def _hcm(filters: list[Json], route: Json) -> Json:
    to = {"match": {"prefix": "/"}, "route": {"cluster": "app", **route}}
    return {
        "@type": _HCM,
        "stat_prefix": "x",
        "generate_request_id": False,
        "route_config": {
            "name": "r",
            "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [to]}],
        },
        "http_filters": [*filters, named("router", "router.v3.Router")],
    }


def _authz(**config: object) -> list[Json]:
    return [named("envoy.filters.http.ext_authz", "ext_authz.v3.ExtAuthz", **config)]


def _limiter(domain: str) -> list[Json]:
    service = {"transport_api_version": "V3", "grpc_service": _GRPC}
    config = {
        "domain": domain,
        "timeout": "5s",
        "rate_limit_service": service,
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "enable_retry_after_header": True,
    }
    return [named("envoy.filters.http.ratelimit", "ratelimit.v3.RateLimit", **config)]


def _names(*names: str) -> Json:
    return {"patterns": [{"exact": name} for name in names]}


_ACTIONS = [
    {"actions": [{"generic_key": {"descriptor_value": "k"}}]},
    {"actions": [{"request_headers": {"header_name": "x-a", "descriptor_key": "a"}}]},
    {"actions": [{"request_headers": {"header_name": "x-zz", "descriptor_key": "z"}}]},
]
_BODY = {"max_request_bytes": 5, "allow_partial_message": True}
_LISTS = {
    "path_prefix": "/pre",
    "authorization_request": {"headers_to_add": [{"key": "x-added", "value": "v"}]},
    "authorization_response": {
        "allowed_upstream_headers": _names("x-a"),
        "allowed_upstream_headers_to_append": _names("x-b"),
        "allowed_client_headers": _names("x-a"),
        "allowed_client_headers_on_success": _names("x-c"),
    },
}
SETUPS: Mapping[str, tuple[list[Json], Json]] = {
    "grpc": (_authz(transport_api_version="V3", grpc_service=_GRPC), {}),
    "grpc body": (
        _authz(transport_api_version="V3", grpc_service=_GRPC, with_request_body=_BODY),
        {},
    ),
    "http": (_authz(http_service={"server_uri": _URI}), {}),
    "http lists": (
        _authz(
            http_service={"server_uri": _URI, **_LISTS},
            allowed_headers=_names("x-a", "cookie"),
            disallowed_headers=_names("cookie"),
            status_on_error={"code": "ServiceUnavailable"},
        ),
        {},
    ),
    "http open": (
        _authz(
            http_service={"server_uri": _URI},
            failure_mode_allow=True,
            failure_mode_allow_header_add=True,
        ),
        {},
    ),
    "under": (_limiter("under"), {"rate_limits": _ACTIONS}),
    "over": (_limiter("over"), {"rate_limits": _ACTIONS}),
}
_SENT = {"x-a": "o", "x-b": "o", "x-abs": "o", "x-gone": "1", "authorization": "t", "cookie": "c"}
CALLS: list[tuple[str, str, str, bytes, Mapping[str, str]]] = [
    *(("grpc", "GET", path, b"", {}) for path in ("/ok", "/deny", "/denied", "/error")),
    ("grpc", "GET", "/change?a=1&b=2&c=3", b"", {}),
    ("grpc", "POST", "/denied", b"", {"content-type": "application/grpc"}),
    ("grpc body", "POST", "/ok", b"abc", {}),
    ("grpc body", "POST", "/ok", b"abcdefgh", {}),
    *(
        (setup, "GET", path, b"", {})
        for setup in ("http", "http lists", "http open")
        for path in ("/ok", "/deny", "/moved", "/error")
    ),
    ("http", "POST", "/ok", b"body", {}),
    ("under", "GET", "/", b"", {}),
    ("over", "GET", "/", b"", {}),
    ("over", "POST", "/", b"", {"content-type": "application/grpc"}),
]


@dataclass
class Outcome:
    """What can be seen of one call."""

    status: int
    headers: Mapping[str, list[str]]
    body: bytes
    asked: list[Json]
    served: list[Json]


class Both:
    """An Envoy and a mesh of the same configuration, and the services behind them."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self.services = Services()
        grpc = GrpcServer()
        for service, method, behaviour in (
            ("envoy.service.auth.v3.Authorization", "Check", self.services.check),
            ("envoy.service.ratelimit.v3.RateLimitService", "ShouldRateLimit", self.services.limit),
        ):
            grpc.add(service, unaries={method: serve_unary(service, method, behaviour)})
        grpc_port = grpc.listen()
        grpc.start()
        stack.callback(grpc.stop)
        http = stack.enter_context(serving(self.services.authorize))
        app = stack.enter_context(serving(self.services.app))
        clusters = [
            cluster("grpc", grpc_port, h2=True),
            cluster("http", http.address.port),
            cluster("app", app.address.port),
        ]
        self.ports: dict[str, int] = {}
        listeners: list[Json] = []
        api: list[Json] = []
        for name, (filters, route) in SETUPS.items():
            sock = bound_socket()
            self.ports[name] = port_of(sock)
            sock.close()
            hcm = _hcm(filters, route)
            place = {"address": "127.0.0.1", "port_value": self.ports[name]}
            chain = {"filters": [{"name": "hcm", "typed_config": hcm}]}
            listeners.append(
                {"name": name, "address": {"socket_address": place}, "filter_chains": [chain]}
            )
            api.append({"name": _host(name), "api_listener": {"api_listener": hcm}})
        admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        resources = {"listeners": listeners, "clusters": clusters}
        stack.enter_context(envoy_of({"admin": admin, "static_resources": resources}, directory))
        mesh = Mesh.static({"static_resources": {"listeners": api, "clusters": clusters}})
        stack.enter_context(mesh)
        self.sdk = stack.enter_context(httpx.Client(transport=MeshTransport(mesh)))
        self.envoy = stack.enter_context(httpx.Client())

    def call(
        self, client: httpx.Client, url: str, method: str, body: bytes, more: Mapping[str, str]
    ) -> Outcome:
        self.services.asked.clear()
        self.services.served.clear()
        fields = {**_SENT, **more, "host": "a.com"}
        answer = client.request(method, url, headers=fields, content=body)
        headers: dict[str, list[str]] = {}
        for name, value in answer.headers.multi_items():
            if name not in _UNLIKE and (name, value) != ("content-length", "0"):  # Envoy's codec
                headers.setdefault(name, []).append(value)
        asked = json.loads(json.dumps(self.services.asked, default=repr, sort_keys=True))
        return Outcome(
            answer.status_code, headers, answer.content, asked, list(self.services.served)
        )


def _host(setup: str) -> str:
    return f"{setup.replace(' ', '-')}:80"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Generator[Both]:
    envoy_binary()
    with ExitStack() as stack:
        yield Both(stack, tmp_path_factory.mktemp("envoy"))


@pytest.mark.parametrize(
    ("setup", "method", "path", "body", "more"), CALLS, ids=[" ".join(c[:3]) for c in CALLS]
)
def test_both_ask_the_same_and_do_the_same(
    both: Both, setup: str, method: str, path: str, body: bytes, more: Mapping[str, str]
) -> None:
    envoys = f"http://127.0.0.1:{both.ports[setup]}{path}"
    ours = f"http://{_host(setup).removesuffix(':80')}{path}"

    expected = both.call(both.envoy, envoys, method, body, more)
    found = both.call(both.sdk, ours, method, body, more)

    assert found == expected
