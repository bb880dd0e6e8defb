"""The control plane goes away, comes back, and says things that cannot be: calls go on."""

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from queue import Queue
from typing import Any

import httpx
import pytest

from meshsdk.control_plane.ads_server import AdsServer, Changes
from meshsdk.control_plane.ads_session import LISTENER, ROUTE_CONFIGURATION
from meshsdk.control_plane.shapes import rbac
from meshsdk.control_plane.shapes.tls import Json
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.integrations.httpx import MeshTransport
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import Event, PlanPublished, StreamChanged
from meshsdk.testing import FakeCa
from tests.e2e.one_service import (
    URL,
    caller_resources,
    connect,
    node,
    route_configuration,
    server_resources,
    virtual_inbound,
)
from tests.e2e.serving import PATIENCE, Echo, Serving, bound_socket, port_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CALLERS = ("frontend", "batch")
VERSIONS = ("v1", "v2")


@dataclass(eq=False)
class Running:
    """Two servers, a caller that may and one that may not."""

    server: AdsServer
    ads: int
    ports: dict[str, int]
    meshes: dict[str, Mesh] = field(default_factory=dict[str, Mesh])
    events: "dict[str, Queue[Event]]" = field(default_factory=dict[str, "Queue[Event]"])

    def call(self, caller: str = "frontend", calls: int = 20) -> Counter[tuple[int, str]]:
        """How often which version answered, or what else did."""
        counts: Counter[tuple[int, str]] = Counter()
        with httpx.Client(transport=MeshTransport(self.meshes[caller])) as client:
            for _ in range(calls):
                response = client.get(URL)
                is_ok = response.status_code == 200
                said = response.json()["server"] if is_ok else response.text
                counts[response.status_code, said] += 1
        return counts

    def wait_for(self, name: str, wanted: Callable[[Event], bool]) -> None:
        """Until a member has told of this event."""
        while not wanted(self.events[name].get(timeout=PATIENCE)):
            pass

    def drain(self) -> None:
        """Forget the events so far."""
        for queue in self.events.values():
            while not queue.empty():
                queue.get()

    def serve(self, server: AdsServer, weights: dict[str, int]) -> None:
        """Give every member its resources."""
        for version in VERSIONS:
            server.set(node(version).id, server_resources(self.ports[version]))
        resources = caller_resources({each: [self.ports[each]] for each in VERSIONS}, weights)
        for caller in CALLERS:
            server.set(node(caller).id, resources)


@pytest.fixture
def running() -> Generator[Running]:
    ca = FakeCa()
    with ExitStack() as stack:
        sockets = {version: stack.enter_context(bound_socket()) for version in VERSIONS}
        server = AdsServer()
        ads = server.listen()
        found = Running(server, ads, {each: port_of(bound) for each, bound in sockets.items()})
        found.serve(server, {"v1": 1, "v2": 0})
        server.start()
        stack.callback(lambda: found.server.stop())
        for name in (*VERSIONS, *CALLERS):
            queue = found.events[name] = Queue()
            account = "reviews" if name in VERSIONS else name
            identity = ca.context(f"shop/{account}")
            mesh = connect(ads, name, identity, Options(emit=queue.put))
            found.meshes[name] = stack.enter_context(mesh)
        for name in found.meshes:
            assert server.wait_settled(node(name).id, PATIENCE)
            assert found.meshes[name].ready(PATIENCE)
        for version, bound in sockets.items():
            app = MeshMiddleware(Echo(version), found.meshes[version])
            stack.enter_context(Serving(app, bound))
        yield found


def is_lost(event: Event) -> bool:
    return isinstance(event, StreamChanged) and not event.connected


def test_calls_go_on_without_a_control_plane_and_follow_it_when_it_returns(
    running: Running,
) -> None:
    assert running.call() == {(200, "v1"): 20}
    running.drain()

    running.server.stop()
    for name in running.meshes:
        running.wait_for(name, is_lost)

    assert running.call() == {(200, "v1"): 20}
    assert running.call("batch") == {(403, "RBAC: access denied"): 20}
    running.drain()

    running.server = AdsServer()
    assert running.server.listen(f"127.0.0.1:{running.ads}") == running.ads
    running.serve(running.server, {"v1": 0, "v2": 1})
    running.server.start()
    for name in running.meshes:
        assert running.server.wait_settled(node(name).id, PATIENCE)
    running.wait_for("frontend", lambda event: isinstance(event, PlanPublished))

    assert running.call() == {(200, "v2"): 20}
    assert running.call("batch") == {(403, "RBAC: access denied"): 20}


UNKNOWN_FILTER: Json = {
    "name": "acme.unknown",
    "typed_config": {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": "type.googleapis.com/acme.Unknown",
        "value": {},
    },
}


def of_listener(running: Running) -> Changes:
    given = caller_resources({"v1": [running.ports["v1"]]}, {"v1": 1})[LISTENER]["0.0.0.0_80"]
    spoilt: Any = deepcopy(given)
    manager = spoilt["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"].insert(0, UNKNOWN_FILTER)
    return {LISTENER: {"0.0.0.0_80": spoilt}}


def of_routes(_running: Running) -> Changes:
    return {ROUTE_CONFIGURATION: {"80": route_configuration({"v1": 0, "v2": 0})}}


def of_policy(running: Running) -> Changes:
    lookahead = {"url_path": {"path": {"safe_regex": {"regex": "/(?=a)"}}}}
    rule: Json = {"permissions": [lookahead], "principals": [{"any": True}]}
    return {LISTENER: {"virtualInbound": virtual_inbound(running.ports["v1"], rule)}}


def good_policy(running: Running) -> Changes:
    allow_all = rbac.rule()
    return {LISTENER: {"virtualInbound": virtual_inbound(running.ports["v1"], allow_all)}}


@pytest.mark.parametrize(
    ("name", "poison", "error"),
    [
        ("frontend", of_listener, "LDS 0.0.0.0_80: listener.filter_chains[0].filters[0]"),
        ("frontend", of_routes, "RDS 80: route_configuration.virtual_hosts[0].routes[0].route"),
        ("v1", of_policy, "LDS virtualInbound: listener.filter_chains["),
    ],
)
def test_a_nacked_update_leaves_the_last_good_one_in_force(
    running: Running, name: str, poison: Callable[[Running], Changes], error: str
) -> None:
    changes = poison(running)
    (type_url,) = changes

    running.server.update(node(name).id, changes)
    assert running.server.wait_settled(node(name).id, PATIENCE)

    (client,) = (each for each in running.server.clients() if each.node_id == node(name).id)
    assert (client.types[type_url].nack or "").startswith(error)
    assert running.call() == {(200, "v1"): 20}
    assert running.call("batch") == {(403, "RBAC: access denied"): 20}


def test_a_good_update_after_a_nack_is_put_in_force(running: Running) -> None:
    running.server.update(node("v1").id, of_policy(running))
    assert running.server.wait_settled(node("v1").id, PATIENCE)
    running.drain()

    running.server.update(node("v1").id, good_policy(running))
    running.wait_for("v1", lambda event: isinstance(event, PlanPublished))

    assert running.call("batch") == {(200, "v1"): 20}
