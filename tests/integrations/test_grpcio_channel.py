"""`MeshChannel` over real sockets: routes, retries, deadlines and the mesh's own answers."""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest

from meshsdk.call.address import Address
from meshsdk.call.effects import Fetch, Flow
from meshsdk.call.message import Request
from meshsdk.flow.plan import compile_plan
from meshsdk.integrations.grpcio import MeshChannel, channel
from meshsdk.mesh import Mesh
from meshsdk.resources.cluster import Cluster
from meshsdk.resources.load_assignment import LoadAssignment
from tests.integrations.grpc_service import SS, SU, US, UU, Service, eventually, serving
from tests.integrations.traffic import in_flight, mesh_of

RETRY = (
    '{cluster: c, timeout: 10s, retry_policy: {retry_on: "unavailable,connect-failure,reset",'
    " num_retries: 2, retry_back_off: {base_interval: 0.001s}}}"
)
PLAIN = "{cluster: c, timeout: 10s}"


@contextmanager
def meshed(
    route: str, *services: Service, more: str = "", filters: str = "", dead: int = 0
) -> Generator[tuple[MeshChannel, Mesh]]:
    with ExitStack() as stack:
        ports = [stack.enter_context(serving(service)) for service in services]
        ports += [1] * dead
        mesh = stack.enter_context(mesh_of(route, *ports, more=more, filters=filters))
        with channel("reviews:80", mesh) as found:
            yield found, mesh
            for service in services:
                service.released.set()
            assert eventually(lambda: in_flight(mesh) == 0)


def _untyped(c: Any) -> Any:
    return c


def uu(c: MeshChannel, word: bytes, **options: Any) -> object:
    return _untyped(c).unary_unary(UU)(word, **options)


def uu_future(c: MeshChannel, word: bytes, **options: Any) -> object:
    return _untyped(c).unary_unary(UU).future(word, **options).result()


def us(c: MeshChannel, word: bytes, **options: Any) -> object:
    return b",".join(_octets(_untyped(c).unary_stream(US)(word, **options)))


def su(c: MeshChannel, word: bytes, **options: Any) -> object:
    return _untyped(c).stream_unary(SU)(iter([word]), **options)


def su_future(c: MeshChannel, word: bytes, **options: Any) -> object:
    return _untyped(c).stream_unary(SU).future(iter([word]), **options).result()


def ss(c: MeshChannel, word: bytes, **options: Any) -> object:
    return b",".join(_octets(_untyped(c).stream_stream(SS)(iter([word]), **options)))


def _octets(answers: Any) -> Iterator[bytes]:
    yield from answers


Call = Callable[..., object]
ALL = pytest.mark.parametrize("call", [uu, uu_future, us, su, su_future, ss])


def failed(call: Callable[[], object]) -> Any:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value


@ALL
def test_a_failed_attempt_is_made_again(call: Call) -> None:
    service = Service(fail=2)
    with meshed(RETRY, service) as (c, _):
        assert call(c, b"hello") == b"hello"

    assert service.calls == 3


@ALL
def test_what_the_last_attempt_says_is_what_the_application_gets(call: Call) -> None:
    service = Service(fail=9)
    with meshed(RETRY, service) as (c, _):
        error = failed(lambda: call(c, b"hello"))

    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "a is not ready")
    assert dict(error.trailing_metadata()) == {"x-from": "a"}
    assert service.calls == 3


@ALL
def test_other_errors_are_not_tried_again(call: Call) -> None:
    service = Service()
    with meshed(RETRY, service) as (c, _):
        error = failed(lambda: call(c, b"abort NOT_FOUND"))

    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert service.calls == 1


@ALL
def test_a_dead_host_is_left_for_another(call: Call) -> None:
    with meshed(RETRY, Service(), dead=1) as (c, _):
        assert [call(c, b"x") for _ in range(4)] == [b"x"] * 4


@ALL
def test_nobody_listens(call: Call) -> None:
    with meshed(PLAIN, dead=1) as (c, _):
        error = failed(lambda: call(c, b"x"))

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details().startswith("upstream connect error or disconnect/reset before headers")


@ALL
def test_an_unknown_cluster_is_unavailable(call: Call) -> None:
    with meshed("{cluster: nobody}", Service()) as (c, _):
        assert failed(lambda: call(c, b"x")).code() is grpc.StatusCode.UNAVAILABLE


@ALL
def test_the_applications_timeout_ends_the_call(call: Call) -> None:
    service = Service()
    with meshed(RETRY, service) as (c, _):
        error = failed(lambda: call(c, b"sleep 5", timeout=0.1))

    assert (error.code(), error.details()) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "Deadline Exceeded",
    )
    assert service.calls <= 1  # a busy machine may not even have begun


@pytest.mark.parametrize("call", [uu, uu_future, su, su_future, us, ss])
def test_the_routes_timeout_ends_the_call(call: Call) -> None:
    with meshed("{cluster: c, timeout: 0.1s}", Service()) as (c, _):
        error = failed(lambda: call(c, b"sleep 5", timeout=30))

    assert error.details() == "upstream request timeout"


@ALL
def test_a_slow_try_is_given_up_for_the_next(call: Call) -> None:
    service = Service()
    slow = threading.Event()
    act = service.act

    def first_is_slow(word: bytes, context: Any) -> bytes:
        if not slow.is_set():
            slow.set()
            service.released.wait(5)
        return act(word, context)

    service.act = first_is_slow  # type: ignore[method-assign]
    route = (
        "{cluster: c, timeout: 10s, retry_policy: {retry_on: '5xx,reset,deadline-exceeded',"
        " num_retries: 1, per_try_timeout: 0.5s}}"
    )
    with meshed(route, service) as (c, _):
        assert call(c, b"x") == b"x"

    assert service.calls == 2


def test_pushback_says_when_to_come_back() -> None:
    service = Service()
    with meshed(RETRY, service) as (c, _):
        error = failed(lambda: uu(c, b"pushback -1"))

        assert error.details() == "later"
        assert service.calls == 1
        failed(lambda: uu(c, b"pushback 1"))
        assert service.calls == 4


def test_pushback_is_not_waited_for_beyond_the_routes_timeout() -> None:
    service = Service()
    with meshed(RETRY.replace("10s", "0.1s"), service) as (c, _):
        call = _untyped(c).unary_unary(UU).future(b"pushback 3600000")
        assert call.exception(timeout=10) is not None

        assert call.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)


def test_requests_that_outgrow_the_buffer_are_sent_once() -> None:
    service = Service()
    few = [b"x", b"abort UNAVAILABLE"]
    many = [*[b"x" * 65536] * 20, b"abort UNAVAILABLE"]

    with meshed(RETRY, service) as (c, _):
        failed(lambda: _untyped(c).stream_unary(SU)(iter(few)))
        assert service.calls == 3
        failed(lambda: _untyped(c).stream_unary(SU)(iter(many)))

    assert service.calls == 4


ADDED = (
    "{cluster: c, timeout: 10s}, request_headers_to_add: [{header: {key: x-added, value: '%REQ(q-in)%'}}],"
    " response_headers_to_add: [{header: {key: x-back, value: 'yes'}}]"
)


@pytest.mark.parametrize("kind", ["with_call", "future", "stream"])
def test_the_mesh_may_change_what_is_sent_and_what_comes_back(kind: str) -> None:
    service = Service()
    given: dict[str, Any] = {"metadata": (("q-in", "1"),)}
    with meshed(ADDED, service) as (c, _):
        call: Any
        if kind == "with_call":
            _, call = _untyped(c).unary_unary(UU).with_call(b"initial", **given)
        elif kind == "future":
            call = _untyped(c).unary_unary(UU).future(b"initial", **given)
        else:
            call = _untyped(c).unary_stream(US)(b"initial", **given)
        found = dict(call.initial_metadata())
        if kind == "stream":
            assert list(call) == [b"initial"]

    assert (found["x-early"], found["x-early-bin"], found["x-back"]) == ("1", b"\xff", "yes")
    assert service.metadata[0]["x-added"] == "1"


def test_abort_of_a_fault_filter_is_a_status() -> None:
    filters = """- name: fault
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              abort: {grpc_status: 8, percentage: {numerator: 100}}"""
    with meshed(PLAIN, Service(), filters=filters) as (c, _):
        error = failed(lambda: uu(c, b"x"))

    assert (error.code(), error.details()) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "fault filter abort",
    )


def test_a_cancelled_stream_lets_go_of_its_host() -> None:
    service = Service()
    with meshed(PLAIN, service) as (c, mesh):
        answers = _untyped(c).stream_stream(SS)(_forever(service))
        assert next(answers) == b"x"
        answers.cancel()

        assert failed(lambda: next(answers)).code() is grpc.StatusCode.CANCELLED
        assert eventually(lambda: in_flight(mesh) == 0)


def _forever(service: Service) -> Iterator[bytes]:
    yield b"x"
    service.released.wait(10)


def test_a_call_that_waits_for_readiness_is_answered_once_a_host_is_there() -> None:
    service = Service()
    with meshed(PLAIN, dead=1) as (c, mesh):
        future = _untyped(c).unary_unary(UU).future(b"x", timeout=20, wait_for_ready=True)
        stream = _untyped(c).unary_stream(US)(b"x", timeout=20, wait_for_ready=True)
        assert not future.done()
        with serving(service) as port:
            _move(mesh, port)
            assert future.result(20) == b"x"
            assert list(stream) == [b"x"]


def _move(mesh: Mesh, port: int) -> None:
    """Let the only host be another one, as a control plane would."""
    plan = mesh.publisher.plan
    assert plan is not None
    cluster = plan.snapshot.clusters["c"]
    assert isinstance(cluster, Cluster)
    assert isinstance(cluster.load_assignment, LoadAssignment)
    found = cluster.load_assignment
    endpoints = tuple(replace(e, address=Address("127.0.0.1", port)) for e in found.endpoints)
    moved = replace(cluster, load_assignment=replace(found, endpoints=endpoints))
    snapshot = replace(plan.snapshot, clusters={"c": moved}, version=plan.snapshot.version + 1)
    mesh.publisher.publish(compile_plan(snapshot, plan.extensions, plan.live, plan))


def test_readiness_is_that_of_the_mesh() -> None:
    with meshed(PLAIN, Service()) as (c, _):
        untyped: Any = grpc
        untyped.channel_ready_future(c).result(10)


def test_a_closed_channel_makes_no_call() -> None:
    with meshed(PLAIN, Service()) as (c, _):
        c.close()

        with pytest.raises(ValueError, match="closed channel"):
            uu(c, b"x")


def test_closing_cancels_what_runs() -> None:
    with meshed(PLAIN, Service()) as (c, _):
        future = _untyped(c).unary_unary(UU).future(b"sleep 5")
        c.close()

        error = failed(lambda: future.result(5))
        assert (error.code(), error.details()) == (grpc.StatusCode.CANCELLED, "Channel closed!")


def test_interceptors_of_the_application_work() -> None:
    seen: list[str] = []

    class Seeing(grpc.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
        def intercept_unary_unary(
            self, continuation: Any, client_call_details: Any, request: Any
        ) -> Any:
            seen.append(client_call_details.method)
            return continuation(client_call_details, request)

    with meshed(PLAIN, Service()) as (c, _):
        untyped: Any = grpc
        assert untyped.intercept_channel(c, Seeing()).unary_unary(UU)(b"x") == b"x"

    assert seen == [UU]


HEDGED = (
    "{cluster: c, timeout: 5s, hedge_policy: {hedge_on_per_try_timeout: true}, retry_policy: {retry_on:"
    " '5xx,unavailable', num_retries: 1, per_try_timeout: 0.05s, retry_back_off: {base_interval: 0.001s}}}"
)


class SlowAtFirst(Service):
    """The first call is answered when it is told to."""

    def act(self, word: bytes, context: Any) -> bytes:
        if self.calls == 1:
            context.add_callback(self.cancelled.set)
            self.released.wait(5)
            return b"first"
        return b"second"


def test_a_slow_try_gets_company_and_is_reset_when_that_wins() -> None:
    service = SlowAtFirst()
    with meshed(HEDGED, service) as (c, _):
        assert uu(c, b"x") == b"second"
        assert service.cancelled.wait(5)

    assert service.calls == 2


def test_a_slow_try_may_still_win() -> None:
    class Service_(Service):
        def act(self, word: bytes, context: Any) -> bytes:
            if self.calls == 2:
                self.released.set()
                self.cancelled.wait(5)
            else:
                self.released.wait(5)
            return word

        def begin(self, context: Any) -> None:
            super().begin(context)
            if self.calls == 2:
                context.add_callback(self.cancelled.set)

    service = Service_()
    with meshed(HEDGED, service) as (c, _):
        assert uu(c, b"x") == b"x"
        assert service.cancelled.wait(5)


def test_a_hedged_servers_own_deadline_is_not_taken_for_ours() -> None:
    with meshed(HEDGED, Service()) as (c, _):
        error = failed(lambda: uu(c, b"abort DEADLINE_EXCEEDED"))

    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error.details() == "as you wish \u00e4"


def test_hedging_of_streams_is_refused_by_name() -> None:
    with meshed(HEDGED, Service()) as (c, _):
        error = failed(lambda: us(c, b"x"))

    assert error.code() is grpc.StatusCode.UNAVAILABLE


class WithoutSideCalls:
    """A mesh whose filters must ask, and cannot."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mesh, name)

    @property
    def fetcher(self) -> "WithoutSideCalls":
        return self

    def fetch(self, effect: object) -> object:
        raise RuntimeError("a bug of whoever makes side calls")

    def outbound(self, request: Request, *_: object, **__: object) -> Flow[None]:
        yield Fetch("authz", request)


@pytest.mark.parametrize("begin", [US, UU])
def test_a_side_call_that_fails_ends_the_call(begin: str) -> None:
    with mesh_of(PLAIN, 1) as mesh:
        broken: Any = WithoutSideCalls(mesh)
        with channel("reviews:80", broken) as c:
            if begin == UU:
                found = _untyped(c).unary_unary(UU).future(b"x").exception(timeout=10)
            else:
                with pytest.raises(RuntimeError) as raised:
                    next(_untyped(c).unary_stream(US)(b"x"))
                found = raised.value

    assert str(found) == "a bug of whoever makes side calls"
