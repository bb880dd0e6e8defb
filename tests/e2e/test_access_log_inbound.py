"""The same requests to a service behind a real Envoy and in the SDK, and the lines that both wrote."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from meshsdk.config.yaml import load
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import silent
from tests.e2e.envoy import envoy_binary, envoy_of
from tests.e2e.serving import Receive, Scope, Send, Serving, bound_socket, port_of
from tests.e2e.test_access_log import file_logger, wait_for
from tests.flow.plans import endpoints

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FORMAT = (
    '"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE%'
    " %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%"
    ' "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT%'
    ' "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%"'
    " %UPSTREAM_CLUSTER% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %REQUESTED_SERVER_NAME%"
    " %ROUTE_NAME% %RESP(X-APP)% %DYNAMIC_METADATA(envoy.filters.http.rbac)%\n"
)
FILTERS = """
filters:
- name: envoy.filters.http.rbac
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    rules:
      policies:
        ns[shop]-policy[no-post]-rule[0]:
          permissions: [{not_rule: {header: {name: ":method", string_match: {exact: POST}}}}]
          principals: [{any: true}]
- name: router
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""
CALLS: dict[str, Callable[[httpx.Client, str], object]] = {
    "answered": lambda client, url: client.get(
        f"{url}/things//1?q=2", headers={"x-request-id": "7"}
    ),
    "put": lambda client, url: client.put(f"{url}/things", content=b"12345"),
    "refused": lambda client, url: client.post(f"{url}/things", content=b"12345"),
    "unrouted": lambda client, url: client.get(f"{url}/nothing"),
    "failed": lambda client, url: client.get(f"{url}/things/fail"),
    "head": lambda client, url: client.head(f"{url}/things"),
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    body = b"" if scope["method"] == "HEAD" else b"hello"
    headers = [(b"x-app", b"1"), (b"content-length", b"5")]
    status = 500 if scope["path"].endswith("fail") else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def resources(path: Path, port: int, app_port: int) -> dict[str, Any]:
    """One inbound listener; a vanilla Envoy binds it, the SDK takes it for what it is."""
    manager = (
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager"
    )
    route = {"match": {"prefix": "/things"}, "name": "default", "route": {"cluster": "app"}}
    hcm = {
        "@type": manager,
        "stat_prefix": "x",
        "generate_request_id": False,
        "normalize_path": True,
        "merge_slashes": True,
        "access_log": [file_logger(path, {"text_format_source": {"inline_string": FORMAT}})],
        "route_config": {
            "name": "r",
            "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": load(FILTERS, "filters")["filters"],
    }
    return {
        "listeners": [
            {
                "name": "inbound",
                "traffic_direction": "INBOUND",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "filter_chains": [{"filters": [{"name": "hcm", "typed_config": hcm}]}],
            }
        ],
        "clusters": [
            {
                "name": "app",
                "type": "STATIC",
                "load_assignment": load(endpoints("app", app_port), "test"),
            }
        ],
    }


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, list[str]]]:
    """What Envoy and the SDK wrote."""
    envoy_binary()
    directory = tmp_path_factory.mktemp("logs")
    with ExitStack() as stack:
        with bound_socket() as free:
            port = port_of(free)
        behind, own = (stack.enter_context(bound_socket()) for _ in range(2))
        stack.enter_context(Serving(app, behind))
        admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        theirs = resources(directory / "envoy", port, port_of(behind))
        with envoy_of({"static_resources": theirs, "admin": admin}, directory / "run"):
            _call_all(f"http://127.0.0.1:{port}")
            wait_for(directory / "envoy", len(CALLS))
        ours = resources(directory / "sdk", port_of(own), 1)
        mesh = Mesh.static({"static_resources": ours}, options=Options(emit=silent))
        with mesh, Serving(MeshMiddleware(app, mesh), own):
            _call_all(f"http://127.0.0.1:{port_of(own)}")
        yield {who: (directory / who).read_text().splitlines() for who in ("envoy", "sdk")}


def _call_all(url: str) -> None:
    with httpx.Client(trust_env=False, headers={"user-agent": "test", "host": "shop"}) as client:
        for call in CALLS.values():
            call(client, url)


@pytest.mark.parametrize("number", range(len(CALLS)), ids=list(CALLS))
def test_the_same_line_is_written(lines: dict[str, list[str]], number: int) -> None:
    assert lines["sdk"][number] == lines["envoy"][number]
