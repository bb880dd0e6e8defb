"""CUSTOM policies as a real istiod 1.29.6 sends them: whom an inbound request has asked."""

from collections.abc import Mapping

import pytest

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.effects import (
    BodyRead,
    CallApp,
    Deliver,
    Effect,
    Fetch,
    Fetched,
    Flow,
    GrpcFetch,
    GrpcFetched,
    ReadBody,
)
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Response
from meshsdk.mesh import Mesh
from tests import recordings

FOLDER = "03-authorization"
PLAIN = Connection(
    Address("10.0.0.9", 8080),
    Peer(connection=Address("10.0.0.1", 4000)),
    application_protocols=("http/1.1",),
)


def inbound_mesh(node: str) -> Mesh:
    """The inbound side that istiod sent to the node."""
    listener = recordings.state(FOLDER, node)["LDS"]["virtualInbound"]
    return Mesh.static({"static_resources": {"listeners": [listener]}})


def first(mesh: Mesh, path: str, body: bytes = b"") -> tuple[Effect, Flow[None]]:
    """The first effect of a request that is not its body, and the flow."""
    sent = Headers([("authorization", "t"), ("x-user-id", "7"), ("cookie", "c")])
    request = Request("POST", "payment", path, sent, has_body=bool(body))
    flow = mesh.inbound(request, PLAIN)
    effect = next(flow)
    if isinstance(effect, ReadBody):
        effect = flow.send(BodyRead(body[: effect.limit], len(body) <= effect.limit))
    return effect, flow


@pytest.mark.parametrize("node", ["sidecar-custom-grpc", "sidecar-custom-http"])
def test_a_request_that_no_custom_policy_matches_asks_nobody(node: str) -> None:
    with inbound_mesh(node) as mesh:
        effect, _ = first(mesh, "/open")

    assert isinstance(effect, CallApp)


def test_a_grpc_provider_is_asked_with_the_body_and_its_denial_is_delivered() -> None:
    with inbound_mesh("sidecar-custom-grpc") as mesh:
        effect, flow = first(mesh, "/pay/1", b"x" * 5000)
        assert isinstance(effect, GrpcFetch)
        denied = GrpcFetched(0, {"status": {"code": 7}, "denied_response": {"body": "no"}})
        delivered = flow.send(denied)

    assert effect.cluster == "outbound|9000||ext-authz.auth.svc.cluster.local"
    assert (effect.authority, effect.timeout) == ("ext-authz.auth.svc.cluster.local", 2.0)
    attributes = effect.message["attributes"]
    assert isinstance(attributes, Mapping)
    assert attributes["request"]["http"]["size"] == 4096
    assert isinstance(delivered, Deliver)
    assert isinstance(delivered.outcome, Response)
    assert (delivered.outcome.status, delivered.outcome.body) == (403, b"no")


def test_an_http_provider_sees_what_its_lists_name() -> None:
    with inbound_mesh("sidecar-custom-http") as mesh:
        effect, flow = first(mesh, "/pay/1")
        assert isinstance(effect, Fetch)
        allowed = Response(200, Headers([("x-auth-by", "opa"), ("x-other", "1")]))
        passed = flow.send(Fetched(allowed, b""))

    assert effect.request.path == "/check/pay/1"
    assert dict(effect.request.headers.pairs) == {
        "content-length": "0",
        "authorization": "t",
        "x-user-id": "7",
        "x-from": "mesh",
    }
    assert isinstance(passed, CallApp)
    assert passed.request.headers.get("x-auth-by") == "opa"
    assert "x-other" not in passed.request.headers
