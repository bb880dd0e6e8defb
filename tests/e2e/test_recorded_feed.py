"""The user's own mesh as a real istiod sent it, over real sockets."""

import asyncio
from collections import Counter
from collections.abc import Generator

import httpx
import pytest

from meshsdk.integrations.httpx import AsyncMeshTransport, MeshTransport
from meshsdk.telemetry import ResourceRejected
from meshsdk.xds.messages import Variant
from tests.e2e.seed_mesh import SeedMesh, running
from tests.e2e.serving import header, raw_exchange

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FRONTEND = "spiffe://cluster.local/ns/team-a/sa/frontend"
ORDERS = "spiffe://cluster.local/ns/orders/sa/order-service"


@pytest.fixture(scope="module", params=["delta", "sotw"])
def seed_mesh(request: pytest.FixtureRequest) -> Generator[SeedMesh]:
    variant: Variant = request.param
    with running(variant) as mesh:
        yield mesh


def call(mesh: SeedMesh, caller: str, method: str, url: str, **headers: str) -> httpx.Response:
    with httpx.Client(transport=MeshTransport(mesh[caller].mesh)) as client:
        return client.request(method, url, headers=headers)


def test_every_recorded_byte_was_taken(seed_mesh: SeedMesh) -> None:
    for member in seed_mesh.members.values():
        assert member.feed.mismatches == []
        assert member.feed.streams == 1
        assert not [each for each in member.events if isinstance(each, ResourceRejected)]


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://user-service.users/x", "user-service"),
        ("http://user-service.users.svc.cluster.local/x", "user-service"),
        ("http://user-service.users.svc:80/x", "user-service"),
        ("http://10.96.4.10/x", "user-service"),
        ("http://order-service.orders/x", "order-service"),
        ("http://frontend/x", "frontend"),
    ],
)
def test_the_users_hosts_are_found(seed_mesh: SeedMesh, url: str, server: str) -> None:
    response = call(seed_mesh, "frontend", "GET", url)

    assert response.status_code == 200, (response.text, response.extensions["meshsdk"])
    said = response.json()
    assert (said["server"], said["peer"]) == (server, FRONTEND)
    expected = f"By={seed_mesh[server].spiffe_id};Hash="
    assert (header(said, "x-forwarded-client-cert") or "").startswith(expected)


def test_the_canary_gets_a_tenth(seed_mesh: SeedMesh) -> None:
    calls = 1000

    async def many() -> Counter[str]:
        transport = AsyncMeshTransport(seed_mesh["frontend"].mesh)
        left = iter(range(calls))
        counts: Counter[str] = Counter()
        async with httpx.AsyncClient(transport=transport) as client:

            async def work() -> None:
                for _ in left:
                    response = await client.get("http://api-service/v1/items")
                    counts[response.json()["server"]] += 1

            await asyncio.gather(*(work() for _ in range(8)))
        return counts

    counts = asyncio.run(many())

    assert counts.total() == calls
    assert set(counts) == {"api-service-v1", "api-service-v2"}
    # 100 expected; six standard deviations of a binomial (9.5) on either side.
    assert 43 <= counts["api-service-v2"] <= 157


def test_orders_may_charge(seed_mesh: SeedMesh) -> None:
    url = "http://payment-service.payments/api/v1/charges"

    response = call(seed_mesh, "order-service", "POST", url)

    assert response.status_code == 200
    said = response.json()
    assert said["server"] in {"payment-service", "payment-service-2"}
    assert (said["peer"], said["method"], said["path"]) == (ORDERS, "POST", "/api/v1/charges")


@pytest.mark.parametrize(
    ("caller", "method", "path"),
    [
        ("order-service", "GET", "/api/v1/charges"),
        ("order-service", "POST", "/api/v1/charges/1"),
        ("order-service", "POST", "/api/v1/refunds"),
        ("frontend", "POST", "/api/v1/charges"),
        ("api-service-v1", "POST", "/api/v1/charges"),
        ("payment-service", "POST", "/api/v1/charges"),
    ],
)
def test_everything_else_towards_payments_is_denied(
    seed_mesh: SeedMesh, caller: str, method: str, path: str
) -> None:
    apps = [seed_mesh[name].app for name in ("payment-service", "payment-service-2")]
    before = [len(app.seen) for app in apps]

    response = call(seed_mesh, caller, method, f"http://payment-service.payments{path}")

    assert (response.status_code, response.text) == (403, "RBAC: access denied")
    assert [len(app.seen) for app in apps] == before


@pytest.mark.parametrize(
    ("caller", "method", "path", "status"),
    [
        ("frontend", "GET", "/api/items", 200),
        ("frontend", "POST", "/api/items", 200),
        ("frontend", "DELETE", "/api/items", 403),
        ("frontend", "GET", "/admin", 403),
        ("frontend", "GET", "/api/../admin", 403),
        ("order-service", "GET", "/api/items", 403),
    ],
)
def test_the_gateway_takes_the_frontends_api_calls(
    seed_mesh: SeedMesh, caller: str, method: str, path: str, status: int
) -> None:
    response = call(seed_mesh, caller, method, f"http://api-gateway.team-a{path}")

    assert response.status_code == status


def test_a_client_cannot_name_itself_in_a_header(seed_mesh: SeedMesh) -> None:
    forged = f"By=x;URI={ORDERS}"
    url = "http://payment-service.payments/api/v1/charges"

    denied = call(seed_mesh, "frontend", "POST", url, **{"x-forwarded-client-cert": forged})

    assert denied.status_code == 403


def test_plaintext_is_refused(seed_mesh: SeedMesh) -> None:
    before = len(seed_mesh["user-service"].app.seen)

    assert raw_exchange(seed_mesh["user-service"].port) == b""

    assert len(seed_mesh["user-service"].app.seen) == before


def test_registry_only_blocks_a_host_that_nobody_registered(seed_mesh: SeedMesh) -> None:
    response = call(seed_mesh, "frontend", "GET", "http://unknown.example/")

    assert response.status_code == 502
    assert response.extensions["meshsdk"]["route"] == "block_all"


@pytest.mark.parametrize("url", ["https://unknown.example/", "http://unknown.example:9999/"])
def test_registry_only_blocks_what_is_not_http_of_the_mesh(seed_mesh: SeedMesh, url: str) -> None:
    with pytest.raises(httpx.ConnectError) as raised:
        call(seed_mesh, "frontend", "GET", url)

    assert "BlackHoleCluster" in str(raised.value)


def test_explain_says_what_was_recorded(seed_mesh: SeedMesh) -> None:
    request = httpx.Request("GET", "http://payment-api.payments/")

    explanation = seed_mesh["frontend"].mesh.explain(request)

    assert explanation.cluster == "outbound|80||payment-api.payments.svc.cluster.local"
    assert explanation.endpoint == "10.1.3.11:8080"


# -- what is seen -----------------------------------------------------------------------------


def counted(mesh: SeedMesh, name: str, *labels: str) -> list[str]:
    """The series of a member that have these labels."""
    lines = mesh[name].mesh.metrics().splitlines()
    found = [line for line in lines if line.startswith("istio_requests_total{")]
    return [line for line in found if all(label in line for label in labels)]


def test_both_ends_count_a_call_under_the_same_names(seed_mesh: SeedMesh) -> None:
    response = call(seed_mesh, "frontend", "GET", "http://user-service.users/x")
    assert response.status_code == 200
    both = (
        'source_workload="frontend"',
        'source_workload_namespace="team-a"',
        'destination_workload_namespace="users"',
        'source_cluster="Kubernetes"',
        'destination_cluster="Kubernetes"',
        'response_code="200"',
    )

    ours = counted(seed_mesh, "frontend", 'reporter="source"', *both)
    theirs = counted(seed_mesh, "user-service", 'reporter="destination"', *both)

    assert len(ours) == 1, counted(seed_mesh, "frontend")
    assert f'source_principal="{FRONTEND}"' in ours[0]
    assert 'destination_workload="user-service-1"' in ours[0]  # its WorkloadEntry
    assert 'destination_service="user-service.users.svc.cluster.local"' in ours[0]
    assert 'destination_service_namespace="users"' in ours[0]
    assert f'destination_principal="{seed_mesh["user-service"].spiffe_id}"' in ours[0]
    assert len(theirs) == 1, counted(seed_mesh, "user-service")
    assert f'source_principal="{FRONTEND}"' in theirs[0]
    assert 'destination_workload="user-service"' in theirs[0]
    assert 'connection_security_policy="mutual_tls"' in theirs[0]


def test_the_application_never_sees_what_proxies_tell_each_other(seed_mesh: SeedMesh) -> None:
    response = call(seed_mesh, "frontend", "GET", "http://user-service.users/x")

    names = {name for name, _ in response.json()["headers"]}
    assert not [name for name in (*names, *response.headers) if "peer-metadata" in name]


def test_the_status_tells_of_stream_and_certificate(seed_mesh: SeedMesh) -> None:
    status = seed_mesh["frontend"].mesh.status()

    assert status.connected
    assert status.last_ack >= status.plan_published > 0
    assert (status.rejections, status.stale_for) == ((), 0.0)
    assert (status.identity, status.spiffe_id) == ("fresh", FRONTEND)
    assert status.certificate_expires > status.last_ack
