"""What asking a service costs: `python -m tests.bench.bench_side_calls`.

The filter's own part without I/O, the messages, and whole side calls over loopback to servers of
this very process (their part is counted too).
"""

import asyncio
import time
from collections.abc import Callable, Generator

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.context import CallContext
from meshsdk.call.effects import Effect, Fetch, GrpcFetch, GrpcFetched, Reply, SideCall
from meshsdk.call.filter import Continue
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request
from meshsdk.clock import SystemClock, seeded
from meshsdk.filters.ext_authz import EXTENSION
from meshsdk.mesh import Mesh
from meshsdk.resources.route_facts import NO_FACTS
from meshsdk.wire.grpc_message import frame, unframe
from tests.bench.bench_decisions import microseconds
from tests.filters.filter_case import build
from tests.integrations.side_mesh import cluster
from tests.upstream.h2_server import Served2, h2
from tests.upstream.raw_server import OK, Served, serving

_SERVICE = "envoy.service.auth.v3.Authorization"
_ANSWER = b"\0\0\0\0\x04\x0a\x02\x08\x00"  # a CheckResponse that allows
_FIELDS = Headers([(f"x-field-{i}", "some value") for i in range(15)])
_REQUEST = Request("GET", "shop", "/pay?id=1", _FIELDS)


def filter_alone() -> tuple[float, GrpcFetch]:
    """Microseconds of the filter with an answer at hand, and what it asks."""
    service = {"envoy_grpc": {"cluster_name": "authz"}}
    running = build(EXTENSION, {"transport_api_version": "V3", "grpc_service": service})
    connection = Connection(Address("10.0.0.2", 8080), Peer(connection=Address("10.0.0.1", 4000)))
    asked: list[Effect] = []

    def work() -> None:
        context = CallContext(SystemClock(), seeded(1), connection)
        context.route = NO_FACTS
        step = running.on_request(_REQUEST, context)
        assert not isinstance(step, Continue | LocalReply)
        _finish(step, asked)

    spent = microseconds(work)
    effect = asked[0]
    assert isinstance(effect, GrpcFetch)
    return spent, effect


def _finish(step: Generator[Effect, Reply, object], asked: list[Effect]) -> None:
    effect = next(step)
    if not asked:
        asked.append(effect)
    try:
        step.send(GrpcFetched(0, {}))
    except StopIteration:
        return
    raise AssertionError("the filter asks for more")


def messages(effect: GrpcFetch) -> tuple[float, float]:
    """Microseconds to frame a CheckRequest and to read a CheckResponse."""
    return (
        microseconds(lambda: frame(_SERVICE, "Check", effect.message), 300, 5),
        microseconds(lambda: unframe(_SERVICE, "Check", _ANSWER)),
    )


def whole(mesh: Mesh, effect: SideCall, times: int) -> tuple[float, float]:
    """Microseconds of a side call on a thread, and in a task."""

    async def tasks() -> float:
        start = 0.0
        for i in range(2 * times):
            if i == times:
                start = time.perf_counter()
            await mesh.fetcher.afetch(effect)
        return (time.perf_counter() - start) / times * 1e6

    with mesh:
        blocking = microseconds(lambda: mesh.fetcher.fetch(effect), times, 3)
        return blocking, asyncio.run(tasks())


def _plain(served: Served) -> None:
    while served.head():
        served.send(OK)


def _grpc(served: Served2) -> None:
    while (request := served.request()) is not None:
        kind = (b"content-type", b"application/grpc")
        served.answer(request[0], _ANSWER, kind, trailers={b"grpc-status": b"0"})


def main(times: int = 500, show: Callable[[str], None] = print) -> None:
    """Print all of them."""
    alone, effect = filter_alone()
    framing, reading = messages(effect)
    show(f"ext_authz filter alone {alone:7.1f} us")
    show(f"CheckRequest framed    {framing:7.1f} us; CheckResponse read {reading:.1f} us")
    for name, script, is_h2, asked in (
        ("HTTP/1.1", _plain, False, Fetch("authz", _REQUEST)),
        ("gRPC", h2(_grpc), True, effect),
    ):
        with serving(script) as server:
            clusters = [cluster("authz", server.address.port, h2=is_h2)]
            mesh = Mesh.static({"static_resources": {"clusters": clusters}})
            blocking, awaited = whole(mesh, asked, times)
        show(f"{name:9} side call    {blocking:7.1f} us blocking, {awaited:.1f} us awaited")


if __name__ == "__main__":
    main()
