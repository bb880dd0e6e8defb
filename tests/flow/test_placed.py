"""Where the application's own filters run."""

from dataclasses import dataclass, replace
from typing import Literal, cast

import pytest

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import CallApp, Send, Sleep
from meshsdk.call.filter import Continue, Step
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.config.extension import PlacedFilter
from meshsdk.errors import UsageError
from meshsdk.flow.inbound import inbound
from meshsdk.flow.plan import compile_plan
from tests.flow import plans
from tests.flow.plans import GET, Mesh, config, delivered, sent_to

CORS = "envoy.filters.http.cors"
FEED = f"""- name: {CORS}
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}
          - name: m
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
              mutations: {{request_mutations: [{{append: {{header: {{key: x-order, value: feed}}}}}}]}}"""


@dataclass(frozen=True, slots=True)
class Mark:
    """Notes that it ran."""

    name: str

    def on_request(self, request: Request, context: CallContext) -> Step:
        headers = request.headers.add("x-order", self.name)
        return Continue(request.with_headers(headers))


@dataclass(frozen=True, slots=True)
class Deny:
    def on_request(self, request: Request, context: CallContext) -> Step:
        return LocalReply(403, details="own")


def mesh_with(*placed: PlacedFilter, route: str = "{cluster: c}", inward: bool = False) -> Mesh:
    text = config(route, filters=FEED)
    if inward:
        text = text.replace("- name: out\n", "- name: out\n    traffic_direction: INBOUND\n")
    mesh = Mesh(text)
    assert mesh.plan is not None
    extensions = replace(plans.EXTENSIONS, placed_filters=placed)
    mesh.plan = compile_plan(mesh.plan.snapshot, extensions, mesh.live)
    return mesh


def order(mesh: Mesh) -> tuple[str, ...]:
    effect = next(mesh.call())
    assert isinstance(effect, Send)
    return effect.attempt.request.headers.values("x-order")


def test_a_filter_runs_before_the_router() -> None:
    mesh = mesh_with(PlacedFilter(Mark("a"), "a"), PlacedFilter(Mark("b"), "b"))

    assert order(mesh) == ("feed", "a", "b")


@pytest.mark.parametrize(
    ("before", "found"),
    [
        ("m", ("own", "feed")),
        (CORS, ("own", "feed")),
        ("x", ("feed", "own")),
        ("*", ("own", "feed")),
    ],
)
def test_a_filter_runs_before_the_one_that_it_names(before: str, found: tuple[str, ...]) -> None:
    assert order(mesh_with(PlacedFilter(Mark("own"), "own", before=before))) == found


@pytest.mark.parametrize(
    ("direction", "outward", "inward"),
    [("both", True, True), ("outbound", True, False), ("inbound", False, True)],
)
def test_a_filter_runs_in_its_direction(direction: str, outward: bool, inward: bool) -> None:
    way = cast('Literal["both", "outbound", "inbound"]', direction)
    out = mesh_with(PlacedFilter(Mark("own"), "own", way))
    into = mesh_with(PlacedFilter(Mark("own"), "own", way), inward=True)
    effect = next(inbound(into.source, GET, Connection(Address("127.0.0.1", 80))))

    assert isinstance(effect, CallApp)
    assert ("own" in order(out)) is outward
    assert ("own" in effect.request.headers.values("x-order")) is inward


def test_a_route_of_the_feed_may_switch_it_off() -> None:
    off = "{'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}"
    route = f"{{cluster: c}}, typed_per_filter_config: {{own: {off}}}"

    mesh = mesh_with(PlacedFilter(Mark("own"), "own"), route=route)

    assert order(mesh) == ("feed",)


def test_a_filter_may_answer_itself_or_wait() -> None:
    class Wait:
        def on_request(self, request: Request, context: CallContext) -> Step:
            yield Sleep(1.0)
            return Continue(request, lambda response, _: replace(response, status=299))

    denied = mesh_with(PlacedFilter(Deny(), "own"))
    waits = mesh_with(PlacedFilter(Wait(), "own")).call()

    assert delivered(next(denied.call())).status == 403
    assert denied.context.details == "own"
    assert next(waits) == Sleep(1.0)
    sent_to(waits.send(None))
    assert delivered(waits.send(Response(200))).status == 299


@pytest.mark.parametrize(
    ("own", "direction", "problem"),
    [
        (Mark("a"), "out", "direction: expected one of outbound, inbound, both, found 'out'"),
        (Mark, "both", "expected an object with on_request"),
        (object(), "both", "expected an object with on_request"),
    ],
)
def test_a_filter_that_would_never_run_is_refused(
    own: object, direction: str, problem: str
) -> None:
    way = cast("Literal['both']", direction)

    with pytest.raises(UsageError, match=problem):
        PlacedFilter(cast("Mark", own), "own", way)
