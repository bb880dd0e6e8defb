"""A small run through every room, for the Python versions that are not the one developed on.

It needs the library, pytest and nothing else of the `dev` extra.
"""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import meshsdk
from meshsdk.call import BodyEnd, Deliver, Request, Response, Send
from meshsdk.cli.coverage_extensions import registries
from meshsdk.flow.cluster_plan import LiveState
from meshsdk.flow.drive import complete
from meshsdk.flow.outbound import Source, outbound
from meshsdk.flow.plan import Plan, compile_plan
from meshsdk.flow.select import Target
from meshsdk.identity.tls_params import SpiffeTrust, TlsParams, Validation
from meshsdk.testing import FakeCa, FakeClock, SeededRandom
from meshsdk.testing._handshake import contexts_of, shake
from meshsdk.wire.bootstrap_form import recorded_state
from meshsdk.xds.static import static_snapshot
from tests import recordings

CLIENT = TlsParams(validation=Validation(SpiffeTrust()), alpn=("istio",))
SERVER = replace(CLIENT, require_client_certificate=True)
INTEGRATIONS = sorted(
    path.stem for path in (Path(__file__).parents[1] / "integrations").glob("[!_]*.py")
)


def test_every_module_can_be_imported() -> None:
    package = Path(meshsdk.__file__).parent

    for found in walk_packages([str(package)], "meshsdk."):
        if not found.name.startswith("meshsdk.integrations.") and "__main__" not in found.name:
            import_module(found.name)


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_every_adapter_whose_library_is_there_can_be_imported(name: str) -> None:
    try:
        import_module(f"meshsdk.integrations.{name}")
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        pytest.skip(f"{name} is not installed")


def plan_and_state() -> tuple[Plan, LiveState]:
    extensions = registries()
    recorded = recorded_state(recordings.state("01-seed-mesh", "sidecar-frontend"))
    live = LiveState(FakeClock(), SeededRandom(1))
    return compile_plan(static_snapshot(recorded, extensions), extensions, live), live


def test_a_call_takes_a_recorded_plan_to_an_endpoint_and_back() -> None:
    plan, live = plan_and_state()
    host = "api-service.team-a.svc.cluster.local"
    source = Source(lambda: plan, live)

    flow = outbound(source, Request("GET", host, "/"), Target(host, 80))
    sent = next(flow)
    assert isinstance(sent, Send)
    delivered = flow.send(Response(200))
    assert isinstance(delivered, Deliver)
    complete(flow, BodyEnd())

    assert sent.attempt.host.endpoint.address.port == 8080
    assert isinstance(delivered.outcome, Response)
    assert delivered.outcome.status == 200


def test_two_members_of_a_mesh_shake_hands_and_a_stranger_is_refused() -> None:
    ours, theirs = FakeCa("cluster.local"), FakeCa("other.org")
    server = contexts_of(ours.context("shop/reviews"))

    friend = shake(contexts_of(ours.context("shop/web")).client(CLIENT), server.server(SERVER))
    stranger = shake(contexts_of(theirs.context("shop/web")).client(CLIENT), server.server(SERVER))

    assert friend.succeeded
    assert not stranger.succeeded
