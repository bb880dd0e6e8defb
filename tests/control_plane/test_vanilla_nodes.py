from pathlib import Path

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.clock import SystemClock
from meshsdk.control_plane.ads_session import CLUSTER, LISTENER, SECRET
from meshsdk.control_plane.shapes import listeners
from meshsdk.control_plane.state_directory import StateDirectory
from meshsdk.control_plane.vanilla_nodes import PORTS, VanillaNodes, is_envoy
from meshsdk.testing.clock import FakeClock

CART = SpiffeId.of_workload("cluster.local", "shop", "cart")
FEED = {
    LISTENER: {"0.0.0.0_80": listeners.outbound_listener(80, allow_any=False)},
    CLUSTER: {},
}


def a_state(directory: Path, clock: FakeClock) -> StateDirectory:
    state = StateDirectory(directory, "cluster.local", clock)
    state.prepare()
    return state


def test_a_node_is_an_envoy_by_its_user_agent() -> None:
    assert is_envoy({"user_agent_name": "envoy"})
    assert not is_envoy({"user_agent_name": "meshsdk-python"})
    assert not is_envoy({})


def test_without_metadata_outbound_listeners_keep_their_ports(tmp_path: Path) -> None:
    state = a_state(tmp_path, FakeClock(time=SystemClock().time()))
    nodes = VanillaNodes(state.signing, None)

    own = nodes.variant(FEED, {"id": "a"}, CART)
    told = nodes.variant(
        FEED, {"id": "a", "metadata": {PORTS: {"outbound": {"0.0.0.0_80": 15080.0}}}}, CART
    )

    ports = [each[LISTENER]["0.0.0.0_80"]["address"] for each in (own, told)]
    assert [str(port) for port in ports] == [
        str({"socket_address": {"address": "127.0.0.1", "port_value": number}})
        for number in (80, 15080)
    ]


def test_nobody_gets_the_key_of_another_by_saying_its_node_id(tmp_path: Path) -> None:
    state = a_state(tmp_path, FakeClock(time=SystemClock().time()))
    nodes = VanillaNodes(state.signing, None)
    web = SpiffeId.of_workload("cluster.local", "shop", "web")

    first = nodes.variant(FEED, {"id": "a"}, CART)[SECRET]["default"]
    second = nodes.variant(FEED, {"id": "a"}, web)[SECRET]["default"]

    assert first != second


def test_a_certificate_is_kept_until_half_of_its_life_or_new_roots(tmp_path: Path) -> None:
    clock = FakeClock(time=SystemClock().time())
    state = a_state(tmp_path, clock)
    nodes = VanillaNodes(state.signing, 100.0)

    first = nodes.variant(FEED, {"id": "a"}, CART)[SECRET]
    clock.advance(49.0)
    same = nodes.variant(FEED, {"id": "a"}, CART)[SECRET]
    early = nodes.forget_due()
    clock.advance(2.0)
    late = nodes.forget_due()
    second = nodes.variant(FEED, {"id": "a"}, CART)[SECRET]
    state.prepare_root()
    rotated = nodes.forget_due()
    third = nodes.variant(FEED, {"id": "a"}, CART)[SECRET]

    assert (early, late, rotated, nodes.forget_due()) == (False, True, True, False)
    assert first == same
    assert first["default"] != second["default"] != third["default"]
    assert second["ROOTCA"] != third["ROOTCA"]


def test_a_node_that_is_gone_is_due_once(tmp_path: Path) -> None:
    """Else the plane translates everything anew, again and again, for nobody."""
    clock = FakeClock(time=SystemClock().time())
    nodes = VanillaNodes(a_state(tmp_path, clock).signing, 100.0)
    nodes.variant(FEED, {"id": "a"}, CART)

    clock.advance(51.0)

    assert [nodes.forget_due(), nodes.forget_due()] == [True, False]
