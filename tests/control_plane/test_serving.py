"""The whole control plane over real sockets, with a translation that a reader sees through."""

import json
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, current_thread
from typing import Any

import pytest

from meshsdk import Mesh
from meshsdk.clock import SystemClock
from meshsdk.config.bootstrap import Bootstrap, Credentials, Node, Server
from meshsdk.control_plane.ads_debug import DEBUG
from meshsdk.control_plane.ads_session import CLUSTER, SECRET
from meshsdk.control_plane.debug import DebugServer, show_over_xds
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.proxies import Proxy, parse_proxy
from meshsdk.control_plane.istio.translate import NodeState
from meshsdk.control_plane.istio.workload_group import WorkloadGroup
from meshsdk.control_plane.registration import Registrations
from meshsdk.control_plane.serving import ControlPlane, ServingOptions
from meshsdk.control_plane.shapes.tls import Json
from meshsdk.control_plane.state_directory import ROOTS, LastGood, StateDirectory
from meshsdk.control_plane.tokens import OWN_ISSUER, TokenIssuer, mint
from meshsdk.errors import PeerError, UsageError
from meshsdk.resources.secret import Secret
from meshsdk.testing.ca import FakeCa, chain_pem, private_key_pem
from meshsdk.testing.clock import FakeClock
from meshsdk.wire.ads_stream import AdsStream, AdsTransport
from meshsdk.wire.channel import ChannelTls, open_channel
from meshsdk.xds.messages import DiscoveryRequest, DiscoveryResponse, StreamEnded

CLOCK = SystemClock()
PATIENCE = 10.0
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: [{name}.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  workloadSelector: {{labels: {{app: {name}}}}}
"""
GROUP = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: cart, namespace: shop}
spec:
  metadata: {labels: {app: cart}}
  template: {serviceAccount: cart, ports: {http: 8080}}
"""


def translate(config: Config, node: Proxy) -> NodeState:
    """A cluster for each service, its endpoints and the node's own labels."""
    known = config.registry.known(node)
    clusters: dict[str, dict[str, object]] = {}
    for service in config.registry.services:
        addresses = sorted(each.name for each in service.endpoints)
        clusters[service.hostname] = {
            "name": service.hostname,
            "alt_stat_name": ",".join([*addresses, known.labels.get("app", "")]),
            "type": "STATIC",
        }
    return NodeState(clusters)


def node_id(name: str = "cart-1", namespace: str = "shop") -> str:
    return f"sidecar~127.0.0.1~{name}.{namespace}~{namespace}.svc.cluster.local"


@dataclass
class Plane:
    plane: ControlPlane
    state: StateDirectory
    config: Path
    tls_port: int
    plain_port: int
    scratch: Path

    def token(self, namespace: str = "shop", account: str = "cart") -> str:
        return mint(self.state.token_key(), namespace, account, CLOCK, 600.0)

    @contextmanager
    def stream(
        self, node: Mapping[str, object], token: str = "", *, plaintext: bool = False
    ) -> Generator[AdsStream]:
        roots = self.state.signing().roots_pem
        tls = None if plaintext else ChannelTls(roots, server_name="istiod.istio-system.svc")
        port = self.plain_port if plaintext else self.tls_port
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        with open_channel(f"127.0.0.1:{port}", tls) as channel:
            stream = AdsTransport(channel, "delta", node, lambda: metadata).open()
            try:
                yield stream
            finally:
                stream.close()

    def write(self, name: str, text: str) -> None:
        beside = self.scratch / "written"
        beside.write_text(text)
        beside.replace(self.config / name)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    config, state = tmp_path / "config", StateDirectory(tmp_path / "state", "cluster.local", CLOCK)
    config.mkdir()
    (config / "cart.yaml").write_text(ENTRY.format(name="cart"))
    state.prepare()
    own = TokenIssuer.of(OWN_ISSUER, state.token_key().jwks)
    served = ControlPlane(
        config, translate, ServingOptions(), signing=LastGood(state), own_issuer=own
    )
    ports = served.listen("127.0.0.1:0"), served.listen_plaintext()
    with served:
        yield Plane(served, state, config, *ports, tmp_path)


def ask(stream: AdsStream, type_url: str, *names: str) -> Iterator[object]:
    stream.send(DiscoveryRequest(type_url, subscribe=names or ("*",), first=True))
    return iter(stream)


def next_of(events: Iterator[object], stream: AdsStream) -> DiscoveryResponse:
    event = next(events)
    assert isinstance(event, DiscoveryResponse), event
    stream.send(DiscoveryRequest(event.type_url, nonce=event.nonce, version=event.version))
    return event


def names(response: DiscoveryResponse) -> list[str]:
    return sorted(str(each.name) for each in response.resources)


CART = {"id": node_id(), "metadata": {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "cart"}}
HOST = "{}.shop.svc.cluster.local"


# -- who calls: the cases of recording 12 ---------------------------------------------------------

OTHER = {"NAMESPACE": "other", "SERVICE_ACCOUNT": "cart"}
REFUSED = [
    pytest.param(CART, "", "UNAUTHENTICATED", "authentication failure", id="no token"),
    pytest.param(CART, "x.y.z", "UNAUTHENTICATED", "authentication failure", id="bad token"),
    pytest.param(
        {**CART, "metadata": OTHER},
        "good",
        "PERMISSION_DENIED",
        "authorization failed: no identities ([spiffe://cluster.local/ns/shop/sa/cart]) matched"
        " other/cart",
        id="another namespace",
    ),
    pytest.param(
        {**CART, "metadata": {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "other"}},
        "good",
        "PERMISSION_DENIED",
        "authorization failed: no identities ([spiffe://cluster.local/ns/shop/sa/cart]) matched"
        " shop/other",
        id="another account",
    ),
    pytest.param({"id": "sidecar~10.0.0.1~a.b"}, "good", "INVALID_ARGUMENT", "", id="three fields"),
    pytest.param(
        {"id": "banana~10.0.0.1~a.b~b.svc.cluster.local"}, "good", "INVALID_ARGUMENT", "", id="type"
    ),
    pytest.param({"id": ""}, "good", "INVALID_ARGUMENT", "missing node information", id="no id"),
]


@pytest.mark.parametrize(("node", "token", "code", "details"), REFUSED)
def test_a_stream_that_istiod_ends_is_ended_alike(
    plane: Plane, node: Mapping[str, object], token: str, code: str, details: str
) -> None:
    with plane.stream(node, plane.token() if token == "good" else token) as stream:
        event = next(ask(stream, CLUSTER))

    assert isinstance(event, StreamEnded), event
    assert event.code == code
    assert event.details == details or not details


@pytest.mark.parametrize(
    "method",
    [
        "envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        "istio.v1.auth.IstioCertificateService/CreateCertificate",
    ],
)
def test_who_has_proved_nothing_holds_no_stream(plane: Plane, method: str) -> None:
    """It says nothing, for ever: streams and threads are counted."""
    over = Event()

    def nothing() -> Iterator[bytes]:
        over.wait(PATIENCE)
        yield from ()

    tls = ChannelTls(plane.state.signing().roots_pem, server_name="istiod.istio-system.svc")
    with open_channel(f"127.0.0.1:{plane.tls_port}", tls) as channel:
        untyped: Any = channel
        call = untyped.stream_stream(f"/{method}")(nothing(), timeout=PATIENCE / 2)
        code = call.code().name  # blocks until the call has ended
        over.set()

    assert code == "UNAUTHENTICATED"


@pytest.mark.parametrize("left_out", ["NAMESPACE", "SERVICE_ACCOUNT", "both"])
def test_what_a_node_leaves_out_is_not_compared(plane: Plane, left_out: str) -> None:
    metadata = {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "cart"}
    kept = {key: value for key, value in metadata.items() if left_out not in (key, "both")}

    with plane.stream({**CART, "metadata": kept}, plane.token()) as stream:
        event = next(ask(stream, CLUSTER))

    assert isinstance(event, DiscoveryResponse), event


@pytest.mark.parametrize(("namespace", "code"), [("shop", ""), ("other", "PERMISSION_DENIED")])
def test_a_client_certificate_is_a_proof(tmp_path: Path, namespace: str, code: str) -> None:
    state = StateDirectory(tmp_path / "state", "cluster.local", CLOCK)
    state.prepare()
    served = ControlPlane(tmp_path, translate, ServingOptions(), signing=state.signing)
    port = served.listen(mutual=True)
    signing = state.signing()
    svid = signing.authority.mint(FakeCa().spiffe_id("shop/cart")).certificate
    tls = ChannelTls(
        signing.roots_pem, svid.private_key_pem, svid.chain_pem, "istiod.istio-system.svc"
    )
    node = {**CART, "metadata": {"NAMESPACE": namespace}}

    with served, open_channel(f"127.0.0.1:{port}", tls) as channel:
        stream = AdsTransport(channel, "sotw", node).open()
        event = next(ask(stream, CLUSTER))
        stream.close()

    if code:
        assert isinstance(event, StreamEnded), event
        assert event.code == code
    else:
        assert isinstance(event, DiscoveryResponse), event


def test_on_plaintext_nobody_proves_anything(plane: Plane) -> None:
    with plane.stream({**CART, "metadata": OTHER}, plaintext=True) as stream:
        event = next(ask(stream, CLUSTER))

    assert isinstance(event, DiscoveryResponse), event


def test_plaintext_is_for_loopback_only(tmp_path: Path) -> None:
    served = ControlPlane(tmp_path, translate, ServingOptions())

    for address in ("0.0.0.0:0", "[::]:0", "10.0.0.1:0", "127.evil.example:0"):
        with pytest.raises(UsageError, match="loopback"):
            served.listen_plaintext(address)
    with pytest.raises(UsageError, match="needs a CA"):
        served.listen()


# -- identity by request --------------------------------------------------------------------------


def test_a_mesh_gets_configuration_and_certificate_by_token(plane: Plane) -> None:
    with a_mesh(plane) as mesh:
        is_ready = mesh.ready(PATIENCE)
        svid = mesh.contexts.status.usable().svid()

    assert is_ready
    assert str(svid.spiffe_id) == "spiffe://cluster.local/ns/shop/sa/cart"


# -- the directory --------------------------------------------------------------------------------


def test_a_file_that_comes_changes_or_goes_is_pushed_as_a_delta(plane: Plane) -> None:
    with plane.stream(CART, plaintext=True) as stream:
        events = ask(stream, CLUSTER)
        first = next_of(events, stream)
        plane.write("web.yaml", ENTRY.format(name="web"))
        second = next_of(events, stream)
        (plane.config / "cart.yaml").unlink()
        third = next_of(events, stream)

    assert names(first) == [HOST.format("cart")]
    assert (names(second), second.removed) == ([HOST.format("web")], ())
    assert (names(third), third.removed) == ([], (HOST.format("cart"),))


def test_a_broken_file_leaves_what_it_said_last_and_the_good_ones_live(plane: Plane) -> None:
    with plane.stream(CART, plaintext=True) as stream:
        events = ask(stream, CLUSTER)
        next_of(events, stream)
        plane.write("cart.yaml", ENTRY.format(name="cart").replace("hosts", "hostz"))
        plane.write("web.yaml", ENTRY.format(name="web"))
        second = next_of(events, stream)

    assert (names(second), second.removed) == ([HOST.format("web")], ())
    (problem,) = [each for each in plane.plane.configuration.problems if each.severity == "error"]
    assert "/cart.yaml:6:3: spec.hostz" in str(problem)


def test_a_translation_that_fails_for_one_node_serves_the_others(tmp_path: Path) -> None:
    def fails(config: Config, node: Proxy) -> NodeState:
        if node.name == "bad":
            raise RuntimeError("a defect")
        return translate(config, node)

    (tmp_path / "cart.yaml").write_text(ENTRY.format(name="cart"))
    served = ControlPlane(tmp_path, fails, ServingOptions())
    port = served.listen_plaintext()
    with served, open_channel(f"127.0.0.1:{port}", None) as channel:
        bad = AdsTransport(channel, "delta", {"id": node_id("bad")}).open()
        bad.send(DiscoveryRequest(CLUSTER, subscribe=("*",), first=True))
        good = AdsTransport(channel, "delta", CART).open()
        events = ask(good, CLUSTER)
        next_of(events, good)
        (tmp_path / "web.yaml").write_text(ENTRY.format(name="web"))
        second = next_of(events, good)
        bad.close()
        good.close()

    assert names(second) == [HOST.format("web")]


class FaultyClock(SystemClock):
    """Fails once, in the thread that watches."""

    def __init__(self) -> None:
        self.has_failed = Event()

    def monotonic(self) -> float:
        if current_thread().name == "meshsdk-watch" and not self.has_failed.is_set():
            self.has_failed.set()
            raise RuntimeError("a defect")
        return CLOCK.monotonic()


def test_a_defect_does_not_end_the_watch(tmp_path: Path) -> None:
    """Whoever stops looking serves old policy for ever."""
    clock = FaultyClock()
    (tmp_path / "cart.yaml").write_text(ENTRY.format(name="cart"))
    served = ControlPlane(tmp_path, translate, ServingOptions(clock=clock))

    with served:
        assert clock.has_failed.wait(PATIENCE)
        (tmp_path / "web.yaml").write_text(ENTRY.format(name="web"))
        wait_for(lambda: len(served.configuration.config.registry.services) == 2)


# -- secrets --------------------------------------------------------------------------------------


def a_secret(namespace: str) -> str:
    svid = FakeCa().svid(f"{namespace}/web")
    data = {"tls.crt": chain_pem(svid).decode(), "tls.key": private_key_pem(svid).decode()}
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "web-tls", "namespace": namespace},
        "type": "kubernetes.io/tls",
        "stringData": data,
    }
    return json.dumps(document)


@pytest.mark.parametrize(
    ("who", "plaintext", "served"),
    [("shop", False, True), ("other", False, False), ("", True, False)],
    ids=["its namespace", "another namespace", "nobody"],
)
def test_a_secret_goes_to_authenticated_nodes_of_its_namespace_only(
    plane: Plane, who: str, plaintext: bool, served: bool
) -> None:
    plane.write("secret.json", a_secret("shop"))
    wait_for(lambda: len(plane.plane.configuration.config.loaded.documents) == 2)
    token = plane.token(who) if who else ""
    node = {"id": node_id(namespace=who or "shop")}

    with plane.stream(node, token, plaintext=plaintext) as stream:
        response = next_of(ask(stream, SECRET, "kubernetes://web-tls"), stream)

    assert names(response) == (["kubernetes://web-tls"] if served else [])
    assert response.removed == (() if served else ("kubernetes://web-tls",))


def wait_for(claim: object) -> None:
    assert callable(claim)
    waiting, ends = Event(), CLOCK.monotonic() + PATIENCE
    while not claim():
        assert CLOCK.monotonic() < ends
        waiting.wait(0.01)


# -- registration ---------------------------------------------------------------------------------

REGISTERING = {
    "id": node_id("cart-7"),
    "metadata": {"NAMESPACE": "shop", "SERVICE_ACCOUNT": "cart", "AUTO_REGISTER_GROUP": "cart"},
}


def test_a_workload_registers_itself_and_others_hear_of_it(plane: Plane) -> None:
    plane.write("group.yaml", GROUP)
    wait_for(lambda: len(plane.plane.configuration.config.loaded.documents) == 2)
    elsewhere = {"id": node_id().replace("127.0.0.1", "10.0.0.1")}
    with plane.stream(elsewhere, plaintext=True) as watcher:
        events = ask(watcher, CLUSTER)
        before = next_of(events, watcher)
        with plane.stream(REGISTERING, plane.token()) as stream:
            own = next_of(ask(stream, CLUSTER), stream)
            after = next_of(events, watcher)

    assert alt(before) == [""]
    assert alt(own) == ["cart-7,cart"]
    assert alt(after) == ["cart-7,"]


def alt(response: DiscoveryResponse) -> list[object]:
    return [each.decode().data.get("alt_stat_name", "") for each in response.resources]


@pytest.mark.parametrize(
    ("account", "plaintext", "code"),
    [("", True, "UNAUTHENTICATED"), ("cart", False, "PERMISSION_DENIED")],
    ids=["nobody", "without a group"],
)
def test_a_registration_that_is_not_allowed_ends_the_stream(
    plane: Plane, account: str, plaintext: bool, code: str
) -> None:
    token = plane.token(account=account) if account else ""
    with plane.stream(REGISTERING, token, plaintext=plaintext) as stream:
        event = next(ask(stream, CLUSTER))

    assert isinstance(event, StreamEnded), event
    assert event.code == code


@pytest.mark.parametrize(
    ("caller", "node"),
    [
        ("shop/web", "shop"),  # another account than the group's
        ("other/cart", "shop"),  # another namespace than that of the node's id
        ("other/cart", "other"),  # a group of another namespace
        ("", "shop"),  # nobody
    ],
)
def test_only_workloads_of_a_group_register_in_it(plane: Plane, caller: str, node: str) -> None:
    plane.write("group.yaml", GROUP)
    wait_for(lambda: len(plane.plane.configuration.config.loaded.documents) == 2)
    groups = plane.plane.configuration.config.loaded.all(WorkloadGroup)
    proxy = parse_proxy(
        {"id": node_id("cart-7", node), "metadata": {"AUTO_REGISTER_GROUP": "cart"}}
    )
    registrations = Registrations(FakeClock())

    with pytest.raises(PeerError):
        registrations.begin(proxy, FakeCa().spiffe_id(caller) if caller else None, groups)

    assert registrations.texts() == {}


def test_nobody_takes_the_name_of_a_workload_of_another_group(plane: Plane) -> None:
    """Else its entry, with its account, were replaced by one of the other's."""
    plane.write("groups.yaml", f"{GROUP}---{GROUP.replace('cart', 'web')}")
    wait_for(lambda: len(plane.plane.configuration.config.loaded.documents) == 3)
    groups = plane.plane.configuration.config.loaded.all(WorkloadGroup)
    cart, web = (
        parse_proxy({"id": node_id("a-1"), "metadata": {"AUTO_REGISTER_GROUP": name}})
        for name in ("cart", "web")
    )
    clock = FakeClock()
    registrations = Registrations(clock)
    key = registrations.begin(cart, FakeCa().spiffe_id("shop/cart"), groups)
    before = registrations.texts()

    with pytest.raises(PeerError, match="registered in cart"):
        registrations.begin(web, FakeCa().spiffe_id("shop/web"), groups)
    assert registrations.texts() == before

    registrations.end(key)
    clock.advance(10.0)
    registrations.expire()
    registrations.begin(web, FakeCa().spiffe_id("shop/web"), groups)


def test_an_entry_goes_ten_seconds_after_its_last_stream(plane: Plane) -> None:
    plane.write("group.yaml", GROUP)
    wait_for(lambda: len(plane.plane.configuration.config.loaded.documents) == 2)
    clock = FakeClock()
    registrations = Registrations(clock)
    caller = FakeCa().spiffe_id("shop/cart")
    groups = plane.plane.configuration.config.loaded.all(WorkloadGroup)
    proxy = parse_proxy(REGISTERING)

    key = registrations.begin(proxy, caller, groups)
    registrations.begin(proxy, caller, groups)
    registrations.end(key)
    clock.advance(11.0)
    with_one = registrations.expire(), len(registrations.texts())
    registrations.end(key)
    clock.advance(9.0)
    soon = registrations.expire(), len(registrations.texts())
    clock.advance(1.0)
    late = registrations.expire(), len(registrations.texts())

    assert (with_one, soon, late) == ((False, 1), (False, 1), (True, 0))


# -- pages ----------------------------------------------------------------------------------------


def test_debug_pages_say_what_is_served_to_whom(plane: Plane) -> None:
    pages = DebugServer(plane.plane)
    pages.start()
    with plane.stream(CART, plane.token()) as stream:
        events = ask(stream, CLUSTER)
        next_of(events, stream)
        wait_for(lambda: [each.is_settled for each in plane.plane.ads.clients()] == [True])
        found = {
            name: get(pages, f"/debug/{name}")
            for name in ("syncz", "adsz", "configz", "registryz", "endpointz")
        }
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(pages, "/debug/secretz")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get(pages, "/debug/syncz", host="evil.example")
    pages.stop()

    syncz = json.loads(found["syncz"])
    assert syncz[0]["proxy"] == "cart-1.shop"
    assert syncz[0]["cluster_sent"] == syncz[0]["cluster_acked"]
    assert json.loads(found["adsz"])["totalClients"] == 1
    assert json.loads(found["configz"])["documents"][0]["at"].endswith("/cart.yaml:2:1")
    assert json.loads(found["registryz"])[0]["hostname"] == HOST.format("cart")
    assert HOST.format("cart") in json.loads(found["endpointz"])


@pytest.mark.parametrize(
    ("who", "code"),
    [("istio-system", ""), ("shop", "PERMISSION_DENIED"), ("", "UNAUTHENTICATED")],
)
def test_debug_pages_over_xds_are_for_the_root_namespace(plane: Plane, who: str, code: str) -> None:
    show_over_xds(plane.plane)
    token = plane.token(who) if who else ""
    node = {"id": node_id(namespace=who or "shop")}

    with plane.stream(node, token, plaintext=not who) as stream:
        event = next(ask(stream, DEBUG, "syncz"))

    if code:
        assert isinstance(event, StreamEnded), event
        assert event.code == code
    else:
        assert isinstance(event, DiscoveryResponse), event
        (page,) = event.resources
        assert json.loads(page.raw)[0]["proxy"] == "cart-1.istio-system"


def get(pages: DebugServer, path: str, host: str = "127.0.0.1") -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{pages.port}{path}", headers={"host": f"{host}:{pages.port}"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return bytes(response.read()).decode()


# -- SDS over ADS ---------------------------------------------------------------------------------


def with_secret(config: Config, node: Proxy) -> NodeState:
    """A cluster that presents a Secret's certificate, as a gateway's would."""
    tls: Json = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [
                {"name": "kubernetes://web-tls", "sds_config": {"ads": {}}}
            ]
        },
    }
    cluster: Json = {
        "name": "partner",
        "type": "STATIC",
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }
    return NodeState({"partner": cluster})


def test_a_mesh_gets_the_secrets_that_its_clusters_name(tmp_path: Path) -> None:
    config, state = tmp_path / "config", StateDirectory(tmp_path / "state", "cluster.local", CLOCK)
    config.mkdir()
    (config / "secret.json").write_text(a_secret("shop"))
    state.prepare()
    own = TokenIssuer.of(OWN_ISSUER, state.token_key().jwks)
    served = ControlPlane(
        config, with_secret, ServingOptions(), signing=LastGood(state), own_issuer=own
    )
    port = served.listen()
    with served:
        running = Plane(served, state, config, port, 0, tmp_path)
        with a_mesh(running) as mesh:
            assert mesh.ready(PATIENCE)
            wait_for(lambda: "kubernetes://web-tls" in secrets_of(mesh))
            found = secrets_of(mesh)["kubernetes://web-tls"]

    assert isinstance(found, Secret)


def secrets_of(mesh: Mesh) -> Mapping[str, object]:
    plan = mesh.publisher.plan
    return {} if plan is None else plan.snapshot.secrets


def a_mesh(plane: Plane) -> Mesh:
    token = plane.scratch / "token"
    token.write_text(plane.token())
    credentials = Credentials(
        root_file=str(plane.state.path / ROOTS),
        token_file=str(token),
        server_name="istiod.istio-system.svc",
    )
    server = Server(f"127.0.0.1:{plane.tls_port}", credentials)
    node = Node(node_id(), metadata={"NAMESPACE": "shop", "SERVICE_ACCOUNT": "cart"})
    return Mesh.connect(Bootstrap((server,), node, ca=server))
