"""What hooks learn of decisions by policy, and what callers do not."""

from dataclasses import replace

import pytest

from meshsdk.call.decision_record import DecisionRecord, Shown
from meshsdk.call.effects import Deliver
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Response
from meshsdk.errors import UsageError
from meshsdk.flow.inbound import inbound
from meshsdk.runtime.explain import explain, explain_inbound
from meshsdk.telemetry import CallDenied, DecisionAudited, DryRunDecided, Event, Why
from meshsdk.telemetry.policy_counts import PolicyCounts
from meshsdk.telemetry.why import RecordBudget
from meshsdk.testing.clock import FakeClock
from tests.flow.plans import GET, Mesh, config
from tests.flow.test_inbound import ALICE, BOB, REQUEST, STRICT, connection

DRY = STRICT.replace(
    "              rules:\n",
    "              shadow_rules_stat_prefix: istio_dry_run_allow_\n"
    "              shadow_rules: {policies: {q: {permissions: [{header: {name: ':method',"
    " string_match: {exact: PUT}}}], principals: [{any: true}]}}}\n"
    "              rules:\n",
)
NAMED = replace(REQUEST, headers=Headers([("x-request-id", "r-1")]))


def told(config: str, peer: str, request: Request = NAMED) -> list[Event]:
    mesh, events = Mesh(config), list[Event]()
    mesh.source.live.emit = events.append
    effect = next(inbound(mesh.source, request, connection(peer)))
    if isinstance(effect, Deliver):
        assert isinstance(effect.outcome, Response)
        assert effect.outcome.body == b"RBAC: access denied"
    return events


def test_a_denial_tells_its_record_with_version_and_request_id() -> None:
    [event] = told(STRICT, BOB)

    assert isinstance(event, CallDenied)
    record = event.why.record()
    assert record is not None
    assert (record.request_id, record.config_version) == ("r-1", event.config_version)
    assert event.request_id == "r-1"
    assert record.nearest[0].failed.actual == f"'{BOB}'"
    assert record.change is not None
    assert record.change.what == "principal"


def test_an_allowed_request_tells_nothing() -> None:
    assert told(STRICT, ALICE) == []


def test_a_dry_run_tells_its_result_and_refuses_nothing() -> None:
    [event] = told(DRY, ALICE)

    assert isinstance(event, DryRunDecided)
    assert (event.allowed, event.policy, event.action) == (False, "", "allow")
    record = event.why.record()
    assert record is not None
    assert record.is_dry_run
    assert record.nearest[0].policy == "q"


def test_records_are_made_when_asked_and_only_so_many_a_second() -> None:
    clock, shown = FakeClock(), Shown(headers={"x-role"})
    budget = RecordBudget(clock, shown)
    made: list[Shown] = []

    def ask() -> bool:
        [event] = told(STRICT, BOB)
        assert isinstance(event, CallDenied)
        record = event.why.record()
        assert record is not None

        def explain(shown: Shown) -> DecisionRecord:
            made.append(shown)
            return record

        return Why(explain, budget).record() is not None

    at_once = [ask() for _ in range(22)]
    clock.advance(0.15)

    assert at_once == [True] * 20 + [False] * 2
    assert ask()
    assert made == [shown] * 21
    clock.advance(3600.0)
    assert [ask() for _ in range(22)] == [True] * 20 + [False] * 2


def test_a_record_is_worked_out_once() -> None:
    [event] = told(STRICT, BOB)

    assert isinstance(event, CallDenied)
    assert event.why.record() is event.why.record()


def test_explain_tells_why_a_request_would_be_denied_and_tells_nobody_else() -> None:
    mesh, events = Mesh(DRY), list[Event]()
    mesh.source.live.emit = events.append

    found = explain_inbound(mesh.source, NAMED, connection(BOB))

    assert found.status == 403
    assert [record.is_dry_run for record in found.decisions] == [True, False]
    assert found.decisions[1].request_id == "r-1"
    assert events == []


def test_explain_tells_that_the_application_would_answer() -> None:
    found = explain_inbound(Mesh(STRICT).source, NAMED, connection(ALICE))

    assert found.status is None
    assert found.decisions == ()


AUDIT = STRICT.replace(
    "              rules:\n",
    "              rules:\n"
    "                audit_logging_options: {audit_condition: ON_DENY_AND_ALLOW}\n",
)


def test_a_policy_that_asks_for_it_is_audited_whatever_it_decides() -> None:
    [allowed] = told(AUDIT, ALICE)
    [audited, denied] = told(AUDIT, BOB)

    assert isinstance(allowed, DecisionAudited)
    assert (allowed.allowed, allowed.policy, allowed.principal) == (True, "p", ALICE)
    assert isinstance(audited, DecisionAudited | CallDenied)
    assert {type(audited), type(denied)} == {DecisionAudited, CallDenied}


def test_no_event_tells_the_query_which_may_hold_a_token() -> None:
    request = replace(NAMED, path=f"{NAMED.path}?access_token=s3cret")

    events = told(AUDIT, BOB, request)

    assert {type(event) for event in events} == {DecisionAudited, CallDenied}
    assert "s3cret" not in repr(events)
    for event in events:
        assert isinstance(event, DecisionAudited | CallDenied)
        assert event.path == NAMED.path


@pytest.mark.parametrize(
    ("condition", "alice", "bob"),
    [("NONE", 0, 0), ("ON_DENY", 0, 1), ("ON_ALLOW", 1, 0), ("ON_DENY_AND_ALLOW", 1, 1)],
)
def test_only_what_was_asked_for_is_audited(condition: str, alice: int, bob: int) -> None:
    config = AUDIT.replace("ON_DENY_AND_ALLOW", condition)

    counts = [
        sum(isinstance(event, DecisionAudited) for event in told(config, peer))
        for peer in (ALICE, BOB)
    ]

    assert counts == [alice, bob]


def test_istios_audit_is_an_event_where_a_policy_matches() -> None:
    log = STRICT.replace(
        "              rules:\n", "              rules:\n                action: LOG\n"
    )

    [event] = told(log, ALICE)

    assert isinstance(event, DecisionAudited)
    assert event.policy == "p"
    assert told(log, BOB) == []


def test_dry_runs_are_counted_as_istio_counts_them_and_by_policy() -> None:
    counts = PolicyCounts()
    for event in (*told(DRY, ALICE), *told(DRY, ALICE), *told(DRY, BOB)):
        assert isinstance(event, DryRunDecided | CallDenied)
        counts.count(
            replace(event, filter_chain="0.0.0.0_80") if isinstance(event, DryRunDecided) else event
        )

    lines = list(counts.lines())

    name = "envoy_http_inbound_0_0_0_0_80_rbac"
    assert f'{name}{{authz_dry_run_action="allow",authz_dry_run_result="denied"}} 3' in lines
    policy = 'meshsdk_authz_dry_run_total{policy="none",action="allow",result="denied"} 3'
    assert policy in lines
    assert 'meshsdk_denied_total{listener="virtualInbound",status="403"} 1' in lines


def test_series_of_policies_are_bounded() -> None:
    counts = PolicyCounts()
    for i in range(6000):
        counts.count(CallDenied("inbound", "GET", "/", 403, "", "", f"l{i}"))

    lines = list(counts.lines())

    assert 'meshsdk_denied_total{listener="other",status="other"} 1000' in lines


@pytest.mark.parametrize("authority", ["[fd00::1]:80", "[fd00::1]", "reviews:80"])
def test_explain_takes_the_target_from_the_authority(authority: str) -> None:
    mesh = Mesh(config("{cluster: c}", ports=(9001,)))

    found = explain(mesh.source, replace(GET, authority=authority), None)

    assert found.endpoint == "127.0.0.1:9001"


def test_explain_says_what_an_authority_lacks() -> None:
    mesh = Mesh(config("{cluster: c}", ports=(9001,)))

    with pytest.raises(UsageError, match="expected a host and maybe a port, found 'reviews:http'"):
        explain(mesh.source, replace(GET, authority="reviews:http"), None)
