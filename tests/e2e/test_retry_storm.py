"""Every upstream fails: how much more load retries make, ours beside a real Envoy's."""

import asyncio
import json
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from urllib.request import urlopen

import httpx
import pytest

from meshsdk.integrations.httpx import AsyncMeshTransport
from meshsdk.mesh import Mesh
from tests.conformance.real_envoy import envoy_binary
from tests.conformance.scripted_upstream import ScriptedUpstream

_T = "type.googleapis.com/envoy.extensions.filters"
_CALLS = 800
_FAILS = [{"status": 503, "delay_ms": 10}]
_MOST = 1.25
"""Of the budget of 20 %, with what a burst may add."""
_SAME = 0.12
"""Two runs of one proxy differ by this much."""


def _config(upstream: int, port: int) -> dict[str, object]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    budget = {"budget_percent": {"value": 20.0}, "min_retry_concurrency": 3}
    cluster = {
        "name": "c",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "c", "endpoints": endpoints},
        "circuit_breakers": {"thresholds": [{"retry_budget": budget}]},
    }
    retry = {"retry_on": "5xx", "num_retries": 3}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "c", "retry_policy": retry}}
    hcm = {
        "@type": f"{_T}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{_T}.http.router.v3.Router"}}
        ],
    }
    listener = {
        "name": "out",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": hcm}]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


async def _storm(client: httpx.AsyncClient, url: str, callers: int, calls: int) -> set[int]:
    """The statuses of all calls. No caller ends before the others: a few alone may retry more."""
    seen: set[int] = set()
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            seen.add((await client.get(url)).status_code)

    async with client, asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return seen


def _ours(upstream: ScriptedUpstream, callers: int, calls: int) -> float:
    upstream.begin(_FAILS)
    with Mesh.static(_config(upstream.port("c"), 80)) as mesh:
        client = httpx.AsyncClient(transport=AsyncMeshTransport(mesh))
        assert asyncio.run(_storm(client, "http://c/", callers, calls)) == {503}
        assert mesh.live.clusters["c"].breakers.default.retries == 0
    return len(upstream.arrived) / calls


def _envoys(upstream: ScriptedUpstream, callers: int, directory: Path) -> float:
    upstream.begin(_FAILS)
    with _envoy(_config(upstream.port("c"), 0), directory) as port:
        limits = httpx.Limits(max_connections=callers)
        client = httpx.AsyncClient(limits=limits, timeout=60, trust_env=False)
        assert asyncio.run(_storm(client, f"http://127.0.0.1:{port}/", callers, _CALLS)) == {503}
    return len(upstream.arrived) / _CALLS


@contextmanager
def _envoy(config: dict[str, object], directory: Path) -> Generator[int]:
    """The port of its only listener."""
    directory.mkdir()
    file, admin = directory / "envoy.json", directory / "admin"
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    file.write_text(json.dumps({**config, "admin": {"address": address}}))
    command = [envoy_binary(), "-c", str(file), "--admin-address-path", str(admin)]
    options = ["--disable-hot-restart", "--concurrency", "1", "-l", "error"]
    process = subprocess.Popen([*command, *options])
    try:
        yield _port(admin)
    finally:
        process.kill()
        process.wait()


def _port(admin: Path) -> int:
    deadline = monotonic() + 20
    while monotonic() < deadline:
        if admin.exists() and admin.read_text():
            with urlopen(f"http://{admin.read_text()}/listeners?format=json") as answer:
                listeners = json.load(answer).get("listener_statuses")
            if listeners:
                port: int = listeners[0]["local_address"]["socket_address"]["port_value"]
                return port
        Event().wait(0.02)
    raise AssertionError("Envoy does not listen")


@pytest.mark.slow
@pytest.mark.parametrize("callers", [20, 100])
def test_a_retry_budget_bounds_a_storm_as_envoys_does(callers: int, tmp_path: Path) -> None:
    with ScriptedUpstream.listening() as upstream:
        theirs = _envoys(upstream, callers, tmp_path / "envoy")
        ours = _ours(upstream, callers, _CALLS)

    print(f"{callers} callers: upstream load x {ours:.3f}, Envoy x {theirs:.3f}")
    assert ours <= _MOST
    assert ours <= theirs + _SAME


@pytest.mark.slow
def test_one_caller_alone_makes_every_retry() -> None:
    with ScriptedUpstream.listening() as upstream:
        assert _ours(upstream, 1, 20) == pytest.approx(4.0)
