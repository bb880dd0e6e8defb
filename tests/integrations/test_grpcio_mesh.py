"""gRPC with the rest of the mesh: metrics, forks, other trust domains, deadlines of the caller."""

import multiprocessing
import os
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
import pytest

from meshsdk.config.yaml import load
from meshsdk.identity import X509Context
from meshsdk.identity.trust_bundle import TrustBundles
from meshsdk.integrations.grpcio import add_mesh_port, channel, server_interceptor
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.testing import FakeCa
from tests.downstream.mesh import ORDER, ORDER_ID, PAYMENT
from tests.integrations.grpc_service import GRPC, UU, Service, handlers
from tests.integrations.test_grpcio_server import (
    ARITIES,
    CLIENT,
    STRICT,
    Telling,
    calling,
    failed,
    served,
    server_mesh,
    sync_server,
)

ALWAYS = Options(metrics="always")


def requests_of(mesh: Mesh) -> dict[str, float]:
    """`istio_requests_total` by gRPC status."""
    found: dict[str, float] = {}
    for line in mesh.metrics().splitlines():
        if line.startswith("istio_requests_total{"):
            labels, _, count = line.rpartition(" ")
            assert 'request_protocol="grpc"' in labels
            status = labels.partition('grpc_response_status="')[2].partition('"')[0]
            found[status] = found.get(status, 0) + float(count)
    return found


@pytest.mark.parametrize("arity", list(ARITIES))
def test_both_sides_count_calls_by_their_status(arity: str) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(
            Mesh.static(load(STRICT, "in"), identity=PAYMENT, options=ALWAYS)
        )
        port = stack.enter_context(sync_server(server, Service()))
        text = CLIENT.replace("PORT", str(port))
        client = stack.enter_context(Mesh.static(load(text, "out"), identity=ORDER, options=ALWAYS))
        c = stack.enter_context(channel("payment.shop:80", client))
        ARITIES[arity](c, b"x")
        failed(lambda: ARITIES[arity](c, b"abort NOT_FOUND"))
        failed(lambda: c.unary_unary("/other.Service/UU")(b""))

    expected = {"0": 1.0, "5": 1.0, "7": 1.0}
    assert requests_of(client) == expected
    assert requests_of(server) == expected


def federated(us: FakeCa, them: FakeCa, workload: str) -> X509Context:
    """An identity of ours that trusts another trust domain too."""
    bundles = {us.trust_domain: us.bundle, them.trust_domain: them.bundle}
    return X509Context((us.svid(workload),), TrustBundles.by_name(bundles))


@pytest.mark.parametrize("is_federated", [True, False])
def test_another_trust_domain_is_let_in_where_it_is_federated(is_federated: bool) -> None:
    ours, theirs = FakeCa("cluster.local"), FakeCa("other.org")
    server = ours.context("shop/payment")
    if is_federated:
        server = federated(ours, theirs, "shop/payment")
    config = STRICT.replace(
        'matcher: {prefix: "spiffe://cluster.local/"}', "matcher: {prefix: spiffe://}"
    )
    with ExitStack() as stack:
        inbound = stack.enter_context(server_mesh(config, server))
        port = stack.enter_context(sync_server(inbound, Telling()))
        c = stack.enter_context(calling(port, federated(theirs, ours, "shop/order")))
        if is_federated:
            assert ARITIES["US"](c, b"who") == b"spiffe://other.org/ns/shop/sa/order"
        else:
            error = failed(lambda: ARITIES["US"](c, b"who"))
            assert error.code() is grpc.StatusCode.UNAVAILABLE


def test_calls_made_while_answering_take_the_callers_deadline_along() -> None:
    left: list[float | None] = []

    class Last(Service):
        def act(self, word: bytes, context: Any) -> bytes:
            left.append(context.time_remaining())
            return word

    class Middle(Service):
        def act(self, word: bytes, context: Any) -> bytes:
            with calling(last, PAYMENT) as c:
                return bytes(c.unary_unary(UU)(word, timeout=60))

    config = STRICT.replace(ORDER_ID, "spiffe://cluster.local/ns/shop/sa/payment")
    with served(config, Last()) as last, served(STRICT, Middle()) as port, calling(port) as c:
        c.unary_unary(UU)(b"x", timeout=20)

    assert left[0] is not None
    assert left[0] < 21


# -- forks --------------------------------------------------------------------------------------


def _serve_and_call(mesh: Mesh, out: Any) -> None:
    """In a forked child: a server and a client on the parent's meshes."""
    server = GRPC.server(ThreadPoolExecutor(2), interceptors=[server_interceptor(mesh)])
    server.add_generic_rpc_handlers((handlers(Telling()),))
    port = add_mesh_port(server, "127.0.0.1:0", mesh)
    server.start()
    with calling(port) as c:
        out.put((os.getpid(), c.unary_unary(UU)(b"who", timeout=10)))
    server.stop(None).wait()
    os._exit(0)


@contextmanager
def _mesh_that_was_used() -> Generator[Mesh]:
    with server_mesh(STRICT) as mesh:
        assert mesh.ready(10)
        yield mesh


@pytest.mark.slow
def test_a_forked_worker_serves_and_calls_by_the_mesh_of_its_parent() -> None:
    fork = multiprocessing.get_context("fork")
    with _mesh_that_was_used() as mesh:
        out: Any = fork.Queue()
        workers = [fork.Process(target=_serve_and_call, args=(mesh, out)) for _ in range(2)]
        for worker in workers:
            worker.start()
        answers = [out.get(timeout=20) for _ in workers]
        for worker in workers:
            worker.join(10)

    assert {answer for _, answer in answers} == {ORDER_ID.encode()}
    assert len({pid for pid, _ in answers}) == 2
