"""The server over real gRPC streams, with the library's own transport as client."""

import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshsdk.control_plane.ads_server import AdsServer, NodeSnapshot
from meshsdk.control_plane.ads_session import (
    CLUSTER,
    LISTENER,
    LOAD_ASSIGNMENT,
    NAME_TABLE,
    ROUTE_CONFIGURATION,
)
from meshsdk.control_plane.ads_status import ClientStatus
from meshsdk.errors import ConfigError
from meshsdk.wire.ads_stream import AdsStream, AdsTransport
from meshsdk.wire.channel import open_channel
from meshsdk.xds.messages import DiscoveryRequest, DiscoveryResponse, StreamEnded, Variant

NODE = "sidecar~10.0.0.1~a.b~b.svc.cluster.local"


@pytest.fixture(params=["delta", "sotw"])
def variant(request: pytest.FixtureRequest) -> Variant:
    found: Variant = request.param
    return found


class Client:
    """An ADS client that keeps a test's book: names asked for, versions accepted."""

    def __init__(self, stream: AdsStream, variant: Variant) -> None:
        self.stream = stream
        self.variant = variant
        self.events = iter(stream)
        self.names: dict[str, set[str]] = {}
        self.version: dict[str, str] = {}
        self.is_first = True

    def ask(
        self, type_url: str, *names: str, nonce: str = "", held: Mapping[str, str] = {}
    ) -> None:
        """Subscribe to more names; none is the wildcard."""
        self.names.setdefault(type_url, set()).update(names)
        delta = self.variant == "delta"
        self.stream.send(
            DiscoveryRequest(
                type_url,
                nonce="" if delta else nonce,
                subscribe=(names or ("*",)) if delta else (),
                names=() if delta else tuple(sorted(self.names[type_url])),
                initial_resource_versions=held,
                first=self.is_first,
            )
        )
        self.is_first = False

    def next(self) -> DiscoveryResponse:
        event = next(self.events)
        assert isinstance(event, DiscoveryResponse), event
        return event

    def ack(self, response: DiscoveryResponse, error: str | None = None) -> None:
        if error is None:
            self.version[response.type_url] = response.version
        self.stream.send(
            DiscoveryRequest(
                response.type_url,
                nonce=response.nonce,
                version=self.version.get(response.type_url, ""),
                names=tuple(sorted(self.names[response.type_url])),
                error=error,
            )
        )

    def take(self) -> tuple[str, list[str], tuple[str, ...]]:
        """The next response, ACKed: the type's last word, names, removed names."""
        response = self.next()
        self.ack(response)
        return shown(response)


def shown(response: DiscoveryResponse) -> tuple[str, list[str], tuple[str, ...]]:
    names = [str(each.name) for each in response.resources]
    return response.type_url.rpartition(".")[2], names, response.removed


@contextmanager
def connected(port: int, variant: Variant, node: str = NODE) -> Generator[Client]:
    with open_channel(f"127.0.0.1:{port}", None) as channel:
        stream = AdsTransport(channel, variant, {"id": node}).open()
        try:
            yield Client(stream, variant)
        finally:
            stream.close()


@pytest.fixture
def server() -> AdsServer:
    return AdsServer(max_streams=4)


@pytest.fixture
def port(server: AdsServer) -> Iterator[int]:
    port = server.listen()
    with server:
        yield port


def cluster(name: str, timeout: str = "1s") -> dict[str, object]:
    return {
        "name": name,
        "type": "EDS",
        "connect_timeout": timeout,
        "eds_cluster_config": {"service_name": name, "eds_config": {"ads": {}}},
    }


def endpoints(name: str, port: int) -> dict[str, object]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    }


def mesh(*names: str) -> NodeSnapshot:
    return {
        CLUSTER: {name: cluster(name) for name in names},
        LOAD_ASSIGNMENT: {name: endpoints(name, 1) for name in names},
        ROUTE_CONFIGURATION: {"80": {"name": "80"}, "81": {"name": "81"}},
    }


def status(server: AdsServer, type_url: str) -> object:
    (client,) = server.clients()
    found = client.types[type_url]
    return found.version_sent, found.version_acked, found.nack


def test_a_client_gets_what_it_asks_for_and_its_ack_is_on_record(
    server: AdsServer, port: int, variant: Variant
) -> None:
    server.set(NODE, mesh("a", "b"))

    with connected(port, variant) as client:
        client.ask(CLUSTER)
        clusters = client.take()
        client.ask(LOAD_ASSIGNMENT, "a")
        assignments = client.next()
        client.ack(assignments)
        assert server.wait_settled(NODE, 5)
        (seen,) = server.clients()

    assert clusters == ("Cluster", ["a", "b"], ())
    assert shown(assignments) == ("ClusterLoadAssignment", ["a"], ())
    assert assignments.resources[0].decode().data == endpoints("a", 1)
    assert (seen.node_id, seen.node, seen.variant) == (NODE, {"id": NODE}, variant)
    assert seen.types[CLUSTER].version_acked == seen.types[CLUSTER].version_sent == "1"
    assert seen.types[CLUSTER].subscribed == {"*"}
    assert seen.types[LOAD_ASSIGNMENT].subscribed == {"a"}
    assert server.wait(lambda clients: not clients, 5)


def test_a_nack_is_on_record_and_is_not_answered(
    server: AdsServer, port: int, variant: Variant
) -> None:
    server.set(NODE, mesh("a"))

    with connected(port, variant) as client:
        client.ask(CLUSTER)
        client.take()
        assert server.wait_settled(NODE, 5)
        server.update(NODE, {CLUSTER: {"a": cluster("a", "2s")}})
        client.ack(client.next(), error="a.connect_timeout: no")
        assert server.wait_settled(NODE, 5)
        nacked = status(server, CLUSTER)
        server.update(NODE, {CLUSTER: {"a": cluster("a", "3s")}})
        better = client.take()
        assert server.wait_settled(NODE, 5)

        assert nacked == ("2", "1", "a.connect_timeout: no")
        assert better == ("Cluster", ["a"], ())
        assert status(server, CLUSTER) == ("3", "3", None)


def test_a_delta_update_pushes_only_what_changed(server: AdsServer, port: int) -> None:
    server.set(NODE, mesh("a", "b", "c"))

    with connected(port, "delta") as client:
        client.ask(CLUSTER)
        client.take()
        client.ask(LOAD_ASSIGNMENT, "a", "b", "c")
        client.take()
        server.set(NODE, mesh("a", "b", "c"))  # equal bytes: nothing to say
        server.update(NODE, {LOAD_ASSIGNMENT: {"b": endpoints("b", 2)}})
        moved = client.take()
        server.update(NODE, {CLUSTER: {"c": None, "d": cluster("d")}})
        replaced = client.take()

    assert moved == ("ClusterLoadAssignment", ["b"], ())
    assert replaced == ("Cluster", ["d"], ("c",))


def test_a_sotw_update_sends_all_clusters_but_only_changed_endpoints(
    server: AdsServer, port: int
) -> None:
    server.set(NODE, mesh("a", "b", "c"))

    with connected(port, "sotw") as client:
        client.ask(CLUSTER)
        client.take()
        client.ask(LOAD_ASSIGNMENT, "a", "b", "c")
        client.take()
        server.update(NODE, {LOAD_ASSIGNMENT: {"b": endpoints("b", 2)}})
        moved = client.take()
        server.update(NODE, {CLUSTER: {"c": None, "d": cluster("d")}})
        replaced = client.take()

    assert moved == ("ClusterLoadAssignment", ["b"], ())
    assert replaced == ("Cluster", ["a", "b", "d"], ())


def test_one_push_goes_out_in_the_order_cds_eds_lds_rds_and_the_rest(
    server: AdsServer, port: int, variant: Variant
) -> None:
    with connected(port, variant) as client:
        for type_url in (NAME_TABLE, LISTENER, CLUSTER):
            client.ask(type_url)
        client.ask(ROUTE_CONFIGURATION, "80")
        client.ask(LOAD_ASSIGNMENT, "a")
        assert server.wait(lambda clients: bool(clients) and len(clients[0].types) == 5, 5)
        listener = {"name": "l", "address": {"pipe": {"path": "@l"}}}
        table = {"": {"table": {"a": {"ips": ["10.0.0.1"]}}}}
        server.set(NODE, {**mesh("a"), LISTENER: {"l": listener}, NAME_TABLE: table})
        order = [client.take()[0] for _ in range(5)]

    assert order == [
        "Cluster",
        "ClusterLoadAssignment",
        "Listener",
        "RouteConfiguration",
        "NameTable",
    ]


def test_a_changed_cluster_brings_its_endpoints_again(
    server: AdsServer, port: int, variant: Variant
) -> None:
    server.set(NODE, mesh("a", "b"))

    with connected(port, variant) as client:
        client.ask(CLUSTER)
        client.take()
        client.ask(LOAD_ASSIGNMENT, "a", "b")
        client.take()
        server.update(NODE, {CLUSTER: {"b": cluster("b", "9s")}})
        pushed = [client.take(), client.take()]

    assert pushed[0][0] == "Cluster"
    assert pushed[1] == ("ClusterLoadAssignment", ["b"], ())


def test_a_changed_listener_brings_its_routes_again(
    server: AdsServer, port: int, variant: Variant
) -> None:
    hcm = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
    hcm += "HttpConnectionManager"

    def listener(prefix: str) -> dict[str, object]:
        config: dict[str, object] = {"@type": hcm, "stat_prefix": prefix}
        config["rds"] = {"route_config_name": "81"}
        return {"name": "l", "filter_chains": [{"filters": [{"typed_config": config}]}]}

    server.set(NODE, {**mesh(), LISTENER: {"l": listener("x")}})

    with connected(port, variant) as client:
        client.ask(LISTENER)
        client.take()
        client.ask(ROUTE_CONFIGURATION, "80", "81")
        client.take()
        server.update(NODE, {LISTENER: {"l": listener("y")}})
        pushed = [client.take(), client.take()]

    assert [type_name for type_name, _, _ in pushed] == ["Listener", "RouteConfiguration"]
    assert pushed[1][1] == ["81"]


def test_names_that_are_added_are_answered_alone(
    server: AdsServer, port: int, variant: Variant
) -> None:
    server.set(NODE, mesh())

    with connected(port, variant) as client:
        client.ask(ROUTE_CONFIGURATION, "80")
        first = client.next()
        client.ack(first)
        client.ask(ROUTE_CONFIGURATION, "81", nonce=first.nonce)
        added = client.take()

    assert added == ("RouteConfiguration", ["81"], ())


def test_an_unknown_name_is_removed_in_delta_and_empty_in_sotw(
    server: AdsServer, port: int, variant: Variant
) -> None:
    server.set(NODE, mesh("a"))

    with connected(port, variant) as client:
        client.ask(LOAD_ASSIGNMENT, "nowhere")
        answer = client.next()

    if variant == "delta":
        assert shown(answer) == ("ClusterLoadAssignment", [], ("nowhere",))
    else:
        assert shown(answer) == ("ClusterLoadAssignment", ["nowhere"], ())
        assert answer.resources[0].decode().data == {"cluster_name": "nowhere"}


def test_a_name_that_goes_is_removed_in_delta_and_emptied_in_sotw(
    server: AdsServer, port: int, variant: Variant
) -> None:
    server.set(NODE, mesh("a", "b"))

    with connected(port, variant) as client:
        client.ask(LOAD_ASSIGNMENT, "a", "b")
        client.take()
        server.update(NODE, {LOAD_ASSIGNMENT: {"b": None}})
        gone = client.take()

    names = [] if variant == "delta" else ["b"]
    assert gone == ("ClusterLoadAssignment", names, ("b",) if variant == "delta" else ())


def test_an_answer_to_an_older_response_is_ignored_with_its_names(
    server: AdsServer, port: int
) -> None:
    server.set(NODE, mesh())

    with connected(port, "sotw") as client:
        client.ask(ROUTE_CONFIGURATION, "80")
        first = client.next()
        client.ack(first)
        server.update(
            NODE, {ROUTE_CONFIGURATION: {"80": {"name": "80", "validate_clusters": True}}}
        )
        client.next()
        client.ask(ROUTE_CONFIGURATION, "81", nonce=first.nonce)
        server.update(NODE, {ROUTE_CONFIGURATION: {"80": {"name": "80"}}})
        third = client.take()

    assert third == ("RouteConfiguration", ["80"], ())


def test_unsubscribed_names_get_no_more_pushes(
    server: AdsServer, port: int, variant: Variant
) -> None:
    server.set(NODE, mesh("a", "b"))

    with connected(port, variant) as client:
        client.ask(LOAD_ASSIGNMENT, "a", "b")
        first = client.next()
        client.names[LOAD_ASSIGNMENT].discard("a")
        client.ack(first)
        if variant == "delta":
            client.stream.send(DiscoveryRequest(LOAD_ASSIGNMENT, unsubscribe=("a",)))
        assert server.wait(lambda c: c[0].types[LOAD_ASSIGNMENT].subscribed == {"b"}, 5)
        changes = {"a": endpoints("a", 2), "b": endpoints("b", 2)}
        server.update(NODE, {LOAD_ASSIGNMENT: changes})
        pushed = client.take()

    assert pushed == ("ClusterLoadAssignment", ["b"], ())


def test_a_delta_client_that_comes_back_gets_what_changed_meanwhile(
    server: AdsServer, port: int
) -> None:
    server.set(NODE, mesh("a", "b", "c"))
    with connected(port, "delta") as client:
        client.ask(CLUSTER)
        held = {str(each.name): each.version for each in client.next().resources}
    server.update(NODE, {CLUSTER: {"b": cluster("b", "2s"), "c": None}})

    with connected(port, "delta") as client:
        client.ask(CLUSTER, held=held)
        pushed = client.take()

    assert pushed == ("Cluster", ["b"], ("c",))


def test_a_sotw_client_that_comes_back_gets_everything(server: AdsServer, port: int) -> None:
    server.set(NODE, mesh("a", "b"))

    with connected(port, "sotw") as client:
        client.ask(CLUSTER, nonce="of another stream")
        pushed = client.take()

    assert pushed == ("Cluster", ["a", "b"], ())


def test_a_wildcard_with_nothing_to_give_is_answered(
    server: AdsServer, port: int, variant: Variant
) -> None:
    server.set(NODE, {})

    with connected(port, variant) as client:
        client.ask(LISTENER)
        assert client.take() == ("Listener", [], ())


def test_each_node_has_its_own_snapshot(server: AdsServer, port: int, variant: Variant) -> None:
    server.set("one", mesh("a"))
    server.set("two", mesh("b"))

    with connected(port, variant, "one") as one, connected(port, variant, "two") as two:
        one.ask(CLUSTER)
        two.ask(CLUSTER)
        assert one.take()[1] == ["a"]
        assert two.take()[1] == ["b"]
        server.update("two", {CLUSTER: {"c": cluster("c")}})
        assert "c" in two.take()[1]
        assert server.wait_settled("one", 5)


def test_snapshot_for_serves_nodes_that_were_not_set_and_is_asked_again(variant: Variant) -> None:
    names = ["a"]

    def snapshot_for(node: Mapping[str, object]) -> NodeSnapshot | None:
        return mesh(*names) if node["id"] == NODE else None

    server = AdsServer(snapshot_for)
    port = server.listen()

    with server, connected(port, variant) as client:
        client.ask(CLUSTER)
        first = client.take()
        names.append("b")
        server.refresh()
        second = client.take()

    assert first[1] == ["a"]
    assert second[1] == (["b"] if variant == "delta" else ["a", "b"])


def test_a_resource_that_does_not_fit_is_refused_and_nothing_changes(
    server: AdsServer, port: int
) -> None:
    server.set(NODE, mesh("a"))

    with pytest.raises(ConfigError, match="connect_timeout"):
        server.update(NODE, {CLUSTER: {"a": cluster("a", "soon")}})

    with connected(port, "delta") as client:
        client.ask(CLUSTER)
        assert client.next().resources[0].decode().data == cluster("a")


def test_a_first_request_without_a_node_is_refused(server: AdsServer, port: int) -> None:
    with connected(port, "delta") as client:
        client.stream.send(DiscoveryRequest(CLUSTER))
        ended = next(client.events)

    assert ended == StreamEnded("INVALID_ARGUMENT", "missing node information")


def test_a_stream_too_many_is_refused(variant: Variant) -> None:
    server = AdsServer(max_streams=1)
    port = server.listen()
    server.set(NODE, mesh("a"))

    with server, connected(port, variant) as first:
        first.ask(CLUSTER)
        first.take()
        with connected(port, variant) as second:
            second.ask(CLUSTER)
            refused = next(second.events)

    assert isinstance(refused, StreamEnded)
    assert refused.code == "RESOURCE_EXHAUSTED"


def test_stop_ends_streams_and_leaves_no_thread(variant: Variant) -> None:
    before = set(threading.enumerate())
    server = AdsServer()
    port = server.listen()
    server.start()
    server.set(NODE, mesh("a"))
    with connected(port, variant) as client:
        client.ask(CLUSTER)
        client.take()

        server.stop()
        ended = next(client.events)

    assert isinstance(ended, StreamEnded)
    left = {thread for thread in threading.enumerate() if thread not in before}
    assert not [thread for thread in left if thread.name.startswith("meshsdk-")]


def test_it_serves_on_a_unix_socket(tmp_path: Path) -> None:
    server = AdsServer()
    server.listen(f"unix://{tmp_path}/ads.sock")
    server.set(NODE, mesh("a"))

    with server, open_channel(f"unix://{tmp_path}/ads.sock", None) as channel:
        client = Client(AdsTransport(channel, "delta", {"id": NODE}).open(), "delta")
        client.ask(CLUSTER)
        assert client.take()[1] == ["a"]
        client.stream.close()


def test_a_client_is_settled_only_with_the_newest_snapshot(
    server: AdsServer, port: int, variant: Variant
) -> None:
    server.set(NODE, mesh("a"))

    def clusters(clients: tuple[ClientStatus, ...]) -> bool:
        return bool(clients) and clients[0].types[CLUSTER].version_sent == "2"

    with connected(port, variant) as client:
        client.ask(CLUSTER)
        client.take()
        server.update(NODE, {CLUSTER: {"b": cluster("b")}})
        assert server.wait(clusters, 5)
        assert not server.wait_settled(NODE, 0)
        client.take()
        assert server.wait_settled(NODE, 5)
