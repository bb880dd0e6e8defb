"""Every file of the platform team's YAML, as it is, and its effect: SDK and Envoy on both sides."""

from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic

import httpx
import pytest

from meshsdk.cli.demo.members import FRONTEND, ORDER_SERVICE, PAYMENT_SERVICE
from tests.e2e.serving import PATIENCE, header
from tests.e2e.yaml_mesh import Kind, YamlMesh, running

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CLIENTS: tuple[Kind, ...] = ("sdk", "envoy")
CLIENT = pytest.mark.parametrize("client", CLIENTS)
CHARGES = "/api/v1/charges"
PAYMENTS = "payment-service.payments"
DENIED = (403, "RBAC: access denied")


@pytest.fixture(scope="module", params=["sdk", "envoy"])
def mesh(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[YamlMesh]:
    servers: Kind = request.param
    directory: Path = tmp_path_factory.mktemp("yaml")
    with running(directory, servers) as found:
        yield found


def said(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.text


def test_nobody_refuses_what_is_served(mesh: YamlMesh) -> None:
    mesh.call(FRONTEND, "envoy", "api-service")

    assert mesh.nacks() == []
    assert len(mesh.plane.ads.clients()) >= 4


@CLIENT
def test_the_canary_gets_its_tenth(mesh: YamlMesh, client: Kind) -> None:
    calls = [mesh.call(FRONTEND, client, "api-service") for _ in range(150)]

    versions = [str(each.json()["server"]).split()[1] for each in calls]
    assert {each.status_code for each in calls} == {200}
    assert 1 <= versions.count("v2") <= 40  # of 150: 15, 6.8 standard deviations


@CLIENT
def test_the_callers_identity_arrives(mesh: YamlMesh, client: Kind) -> None:
    response = mesh.call(ORDER_SERVICE, client, PAYMENTS, "POST", CHARGES)

    assert response.status_code == 200, response.text
    forwarded = header(response.json(), "x-forwarded-client-cert")
    assert forwarded is not None
    assert f"URI={ORDER_SERVICE.spiffe_id}" in forwarded
    assert f"By={PAYMENT_SERVICE.spiffe_id}" in forwarded


@CLIENT
def test_payments_are_for_order_service_and_one_method_and_path(
    mesh: YamlMesh, client: Kind
) -> None:
    assert said(mesh.call(FRONTEND, client, PAYMENTS, "POST", CHARGES)) == DENIED
    assert said(mesh.call(ORDER_SERVICE, client, PAYMENTS, "GET", CHARGES)) == DENIED
    assert said(mesh.call(ORDER_SERVICE, client, PAYMENTS, "POST", "/other")) == DENIED


@CLIENT
@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({}, "/api/items", 200),  # the mesh gives each request an id
        ({"x-request-id": "1"}, "/api/items", 200),
        ({"x-request-id": ""}, "/api/items", 200),  # and an empty one is none
        ({}, "/admin", 403),
    ],
)
def test_the_gateway_asks_for_a_request_id_and_a_path(
    mesh: YamlMesh, client: Kind, headers: dict[str, str], path: str, status: int
) -> None:
    response = mesh.call(FRONTEND, client, "api-gateway", "GET", path, headers)

    assert response.status_code == status, response.text


@CLIENT
def test_the_gateway_is_for_the_frontend(mesh: YamlMesh, client: Kind) -> None:
    assert said(mesh.call(ORDER_SERVICE, client, "api-gateway.team-a", path="/api/x")) == DENIED


@CLIENT
@pytest.mark.parametrize(
    ("role", "status"), [("partner", 200), ("guest", 403), ("", 403), ("forged", 401)]
)
def test_partners_bring_a_token(mesh: YamlMesh, client: Kind, role: str, status: int) -> None:
    token = mesh.partner_token("partner" if role == "forged" else role)
    if role == "forged":
        token = token[:-8] + "AAAAAAAA"
    headers = {"authorization": f"Bearer {token}"} if role else {}

    response = mesh.call(ORDER_SERVICE, client, "payment-api.payments", headers=headers)

    assert response.status_code == status, response.text


@CLIENT
def test_what_is_in_no_registry_is_blocked(mesh: YamlMesh, client: Kind) -> None:
    assert mesh.call(FRONTEND, client, "evil.example").status_code == 502


def test_plaintext_is_refused(mesh: YamlMesh) -> None:
    url = f"http://127.0.0.1:{mesh.ports[PAYMENT_SERVICE]}/"

    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        httpx.get(url, trust_env=False)


@CLIENT
def test_an_edited_file_moves_all_traffic_and_back(mesh: YamlMesh, client: Kind) -> None:
    there = {"weight: 90": "weight: 0", "weight: 10": "weight: 100"}

    def versions() -> set[str]:
        calls = [mesh.call(FRONTEND, client, "api-service") for _ in range(30)]
        return {str(each.json()["server"]).split()[1] for each in calls}

    mesh.edit("canary.yaml", there)
    moved = eventually(lambda: versions() == {"v2"})
    mesh.edit("canary.yaml", {after: before for before, after in there.items()})
    back = eventually(lambda: "v1" in versions())

    assert (moved, back) == (True, True)
    assert mesh.nacks() == []


def test_a_root_is_replaced_step_by_step_and_every_call_is_answered(mesh: YamlMesh) -> None:
    def statuses() -> set[int]:
        return {
            mesh.call(ORDER_SERVICE, client, PAYMENTS, "POST", CHARGES).status_code
            for client in CLIENTS
            for _ in range(5)
        }

    seen = [statuses()]
    for step in (mesh.state.prepare_root, mesh.state.activate_root, mesh.state.finish_root):
        before = set(mesh.identities())
        step()
        assert eventually(partial(have_changed, mesh, before))
        seen.append(statuses())

    assert seen == [{200}] * 4
    assert mesh.nacks() == []


def have_changed(mesh: YamlMesh, before: set[bytes]) -> bool:
    return not before & set(mesh.identities())


def eventually(claim: Callable[[], bool]) -> bool:
    """Whether it becomes true within some seconds."""
    ends, waiting = monotonic() + PATIENCE, Event()
    while monotonic() < ends:
        if claim():
            return True
        waiting.wait(0.05)
    return False
