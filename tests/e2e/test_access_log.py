"""The same calls through a real Envoy and through the SDK, and the lines that both wrote."""

import json
import re
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest

from meshsdk.config.yaml import load
from meshsdk.integrations.httpx import MeshTransport
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import silent
from tests.e2e.envoy import envoy_binary, envoy_of
from tests.e2e.serving import bound_socket, port_of
from tests.flow.plans import endpoints
from tests.upstream.raw_server import OK, RawServer, Served, serving

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FORMAT = (
    '"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE%'
    " %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%"
    ' "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT%'
    ' "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%" "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%"'
    ' "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW%'
    " local=%UPSTREAM_LOCAL_ADDRESS%"
    " %REQUESTED_SERVER_NAME% %ROUTE_NAME% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"
    " %RESP(X-A):3% %REQ(X-NONE?X-B)% %GRPC_STATUS% %RESPONSE_FLAGS_LONG%\n"
)
JSON = {
    "method": "%REQ(:METHOD)%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "sent": "%BYTES_SENT%",
    "reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "nested": {"path": "%REQ(:PATH)%", "both": "%PROTOCOL% %RESPONSE_CODE%"},
}
ERRORS_ONLY = {
    "or_filter": {
        "filters": [
            {
                "status_code_filter": {
                    "comparison": {"op": "GE", "value": {"default_value": 500, "runtime_key": "k"}}
                }
            },
            {"response_flag_filter": {"flags": ["NR"]}},
        ]
    }
}
ROUTES = """
routes:
- {match: {prefix: /ok}, name: fine, route: {cluster: up, prefix_rewrite: /rewritten}}
- {match: {prefix: /slow}, route: {cluster: slow, timeout: 0.2s}}
- {match: {prefix: /refused}, route: {cluster: refused}}
- {match: {prefix: /again}, route: {cluster: refused, retry_policy: {retry_on: connect-failure, num_retries: 1}}}
- {match: {prefix: /empty}, route: {cluster: empty}}
- {match: {prefix: /gone}, route: {cluster: nowhere}}
- {match: {prefix: /cut}, route: {cluster: cut}}
- {match: {prefix: /direct}, direct_response: {status: 418, body: {inline_string: short}}}
- {match: {prefix: /elsewhere}, redirect: {path_redirect: /there}}
"""
ERRORS = 7
"""Of the calls below."""
CALLS: dict[str, Callable[[httpx.Client, str], object]] = {
    "ok": lambda client, url: client.get(f"{url}/ok/1?q=2", headers={"x-b": "told"}),
    "body": lambda client, url: client.post(f"{url}/ok", content=b"12345"),
    "head": lambda client, url: client.head(f"{url}/ok"),
    "grpc": lambda client, url: client.post(
        f"{url}/empty", headers={"content-type": "application/grpc"}
    ),
    "slow": lambda client, url: client.get(f"{url}/slow"),
    "refused": lambda client, url: client.get(f"{url}/refused"),
    "again": lambda client, url: client.get(f"{url}/again"),
    "empty": lambda client, url: client.get(f"{url}/empty"),
    "gone": lambda client, url: client.get(f"{url}/gone"),
    "cut": lambda client, url: client.get(f"{url}/cut"),
    "direct": lambda client, url: client.get(f"{url}/direct"),
    "elsewhere": lambda client, url: client.get(f"{url}/elsewhere"),
    "unrouted": lambda client, url: client.get(f"{url}/"),
}


def file_logger(path: Path, log_format: object, log_filter: object = None) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    config = {"@type": kind, "path": str(path), "log_format": log_format}
    made: dict[str, Any] = {"name": "envoy.access_loggers.file", "typed_config": config}
    return made if log_filter is None else {**made, "filter": log_filter}


def resources(directory: Path, port: int, clusters: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """One listener with three loggers."""
    kinds = "type.googleapis.com/envoy.extensions.filters"
    manager = f"{kinds}.network.http_connection_manager.v3.HttpConnectionManager"
    hosts = [{"name": "v", "domains": ["*"], "routes": load(ROUTES, "routes")["routes"]}]
    hcm = {
        "@type": manager,
        "stat_prefix": "x",
        "generate_request_id": False,
        "access_log": [
            file_logger(directory / "text", {"text_format_source": {"inline_string": FORMAT}}),
            file_logger(directory / "json", {"json_format": JSON}),
            file_logger(
                directory / "errors",
                {"text_format_source": {"inline_string": "%REQ(:PATH)% %RESPONSE_CODE%\n"}},
                ERRORS_ONLY,
            ),
        ],
        "route_config": {"name": "r", "virtual_hosts": hosts, "validate_clusters": False},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{kinds}.http.router.v3.Router"}}
        ],
    }
    chain = {"filters": [{"name": "hcm", "typed_config": hcm}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "listeners": [{"name": "out", "address": address, "filter_chains": [chain]}],
        "clusters": [
            {
                "name": name,
                "type": "STATIC",
                "connect_timeout": "1s",
                "load_assignment": load(endpoints(name, *ports), "test"),
            }
            for name, ports in clusters.items()
        ],
    }


def cut(served: Served) -> None:
    served.head()


def slow(served: Served) -> None:
    served.head()
    served.wait_until_gone()


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, dict[str, list[str]]]]:
    """What Envoy and the SDK wrote, by file."""
    envoy_binary()
    directory = tmp_path_factory.mktemp("logs")
    written: dict[str, dict[str, list[str]]] = {}
    with ExitStack() as stack:
        with bound_socket() as free, bound_socket() as closed:
            port, nobody = port_of(free), port_of(closed)

        def server(script: Callable[[Served], None]) -> int:
            found: RawServer = stack.enter_context(serving(script))
            return found.address.port

        answer = OK.replace(b"\r\n\r\n", b"\r\nx-a: abcdef\r\n\r\n")
        head_or_get = server(_answers(answer))
        clusters = {
            "up": (head_or_get,),
            "slow": (server(slow),),
            "cut": (server(cut),),
            "refused": (nobody,),
            "empty": (),
        }
        admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
        (directory / "envoy").mkdir()
        (directory / "sdk").mkdir()
        theirs = resources(directory / "envoy", port, clusters)
        with envoy_of({"static_resources": theirs, "admin": admin}, directory / "run"):
            with httpx.Client(trust_env=False) as client:
                _call_all(client, f"http://127.0.0.1:{port}", {"host": "reviews"})
            for name, count in (("text", len(CALLS)), ("json", len(CALLS)), ("errors", ERRORS)):
                wait_for(directory / "envoy" / name, count)
        ours = resources(directory / "sdk", 80, clusters)
        mesh = Mesh.static({"static_resources": ours}, options=Options(emit=silent))
        with mesh, httpx.Client(transport=MeshTransport(mesh)) as client:
            _call_all(client, "http://reviews", {})
        for who in ("envoy", "sdk"):
            written[who] = {
                path.name: [masked(line) for line in path.read_text().splitlines()]
                for path in (directory / who).iterdir()
            }
    yield written


def _answers(answer: bytes) -> Callable[[Served], None]:
    def script(served: Served) -> None:
        while head := served.head():
            if head.startswith(b"POST"):
                served.body(5)
            served.send(answer[: answer.index(b"hi")] if head.startswith(b"HEAD") else answer)

    return script


def _call_all(client: httpx.Client, url: str, headers: dict[str, str]) -> None:
    client.headers = httpx.Headers({"user-agent": "test", **headers})
    for call in CALLS.values():
        call(client, url)


def wait_for(path: Path, lines: int) -> None:
    """Envoy writes at its own pace; the end of the process does not wait for it."""
    ends = monotonic() + 15
    while not path.exists() or path.read_text().count("\n") < lines:
        assert monotonic() < ends, path.read_text() if path.exists() else "no log"
        sleep(0.05)


def masked(line: str) -> str:
    """Without what differs from run to run: milliseconds in quotes, and our end's ports.

    Without a response the SDK does not know its end of the connection; Envoy does.
    """
    line = re.sub(r'"\d+"', '"MS"', line)
    ours = "local=PORT" if "via_upstream" in line else "local=ANY"
    return re.sub(r"local=127.0.0.1:\d+" if ours == "local=PORT" else r"local=\S+", ours, line)


@pytest.mark.parametrize("number", range(len(CALLS)), ids=list(CALLS))
def test_the_same_line_is_written(logs: dict[str, dict[str, list[str]]], number: int) -> None:
    assert logs["sdk"]["text"][number] == logs["envoy"]["text"][number]


def test_the_same_json_is_written(logs: dict[str, dict[str, list[str]]]) -> None:
    ours, theirs = ([json.loads(line) for line in logs[who]["json"]] for who in ("sdk", "envoy"))

    assert ours == theirs


def test_the_same_calls_pass_a_filter(logs: dict[str, dict[str, list[str]]]) -> None:
    assert logs["sdk"]["errors"] == logs["envoy"]["errors"]
