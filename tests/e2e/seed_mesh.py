"""The recorded seed mesh, whole: a real istiod's bytes, our meshes and real sockets.

Each workload of recording 01 is a `Mesh.connect` with the recorded node, fed by its recorded
stream. All that is not as it was in the recording is `Options.addresses`: an ephemeral port of
127.0.0.1 for each recorded ip:port, and the SVIDs, which come from a CA of the test.
"""

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final, cast

from meshsdk.call.address import Address
from meshsdk.call.address_map import AddressMap
from meshsdk.config.bootstrap import Credentials, Node
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import Event
from meshsdk.testing import FakeCa
from meshsdk.xds.messages import Variant
from tests import recordings
from tests.e2e.serving import PATIENCE, Echo, Serving, bound_socket, port_of
from tests.recorded_feed import RecordedFeed

FOLDER: Final = "01-seed-mesh"
TRUST_DOMAIN: Final = "cluster.local"
APP_PORT: Final = 8080
WORKLOADS: Final = (
    "frontend",
    "api-gateway",
    "api-service-v1",
    "api-service-v2",
    "order-service",
    "payment-service",
    "payment-service-2",
    "user-service",
)


@dataclass(frozen=True, slots=True)
class Member:
    """A workload while the mesh runs."""

    mesh: Mesh
    app: Echo
    port: int
    """Where its server really listens."""
    spiffe_id: str
    feed: RecordedFeed
    events: list[Event]


@dataclass(frozen=True, slots=True)
class SeedMesh:
    """All workloads, connected and serving."""

    members: dict[str, Member]

    def __getitem__(self, name: str) -> Member:
        return self.members[name]


def node_of(name: str) -> Node:
    """The node that was recorded."""
    recorded = recordings.node(FOLDER, name)
    metadata = cast("dict[str, object]", recorded["metadata"])
    return Node(str(recorded["id"]), str(recorded["cluster"]), metadata)


def account_of(node: Node) -> str:
    """`namespace/service-account`."""
    return f"{node.metadata['NAMESPACE']}/{node.metadata['SERVICE_ACCOUNT']}"


@contextmanager
def running(variant: Variant, workloads: Iterable[str] = WORKLOADS) -> Generator[SeedMesh]:
    """The mesh by one variant of the protocol."""
    ca = FakeCa(TRUST_DOMAIN)
    with ExitStack() as stack:
        sockets = {name: stack.enter_context(bound_socket()) for name in workloads}
        nodes = {name: node_of(name) for name in workloads}
        fed = {name: Address(node.id.split("~")[1], APP_PORT) for name, node in nodes.items()}
        real = {name: Address("127.0.0.1", port_of(each)) for name, each in sockets.items()}
        upstream = {fed[name]: real[name] for name in sockets}
        members: dict[str, Member] = {}
        for name, node in nodes.items():
            feed = stack.enter_context(RecordedFeed.of(FOLDER, name, variant))
            events: list[Event] = []
            mesh = Mesh.connect(
                server=feed.address,
                node=node,
                credentials=Credentials(tls=False),
                variant=variant,
                identity=ca.context(account_of(node)),
                options=Options(
                    addresses=AddressMap(upstream, {real[name].port: fed[name]}),
                    emit=events.append,
                    metrics="always",
                ),
            )
            stack.enter_context(mesh)
            spiffe_id = str(ca.spiffe_id(account_of(node)))
            members[name] = Member(mesh, Echo(name), real[name].port, spiffe_id, feed, events)
        for name, member in members.items():
            assert member.feed.wait_played(PATIENCE), member.feed.mismatches
            assert member.mesh.ready(PATIENCE)
            stack.enter_context(Serving(MeshMiddleware(member.app, member.mesh), sockets[name]))
        yield SeedMesh(members)
