"""Outbound calls, driven by hand: no loop, no server, no clock."""

import pytest

from meshsdk.call.effects import Deliver, Dial, Dialed, Send, Sleep, WaitForConfig
from meshsdk.call.message import BodyEnd, Reset, ResetReason, Response
from meshsdk.errors import NotReadyError
from meshsdk.flow.outbound import Source, outbound
from meshsdk.flow.select import Target
from meshsdk.telemetry import Event, HostEjected
from tests.flow.plans import GET, TARGET, Mesh, config, delivered, finish, refused, sent_to

RETRY = "{cluster: c, retry_policy: {retry_on: 'connect-failure,5xx', num_retries: 2}}"


def test_an_answer_is_delivered_and_the_counts_return_to_zero() -> None:
    mesh = Mesh(config("{cluster: c}"))
    flow = mesh.call()

    assert sent_to(next(flow)).startswith("127.0.0.1:900")
    assert mesh.active("c") == 1
    response = delivered(flow.send(Response(200)))
    assert mesh.active("c") == 1  # the body is still to come
    finish(flow)

    assert response.status == 200
    assert mesh.active("c") == 0


def test_a_failed_attempt_goes_to_the_other_host_after_its_backoff() -> None:
    url = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    previous = f"retry_host_predicate: [{{name: p, typed_config: {{'@type': {url}}}}}]"
    mesh = Mesh(
        config(
            RETRY.replace(
                "num_retries: 2",
                f"num_retries: 2, {previous}, host_selection_retry_max_attempts: 5",
            )
        )
    )
    flow = mesh.call()

    first = sent_to(next(flow))
    pause = flow.send(refused())
    assert isinstance(pause, Sleep)
    second = sent_to(flow.send(None))

    assert {first, second} == {"127.0.0.1:9001", "127.0.0.1:9002"}
    assert 0 <= pause.seconds <= 0.025


def test_retries_end_with_envoys_words_when_their_number_is_used_up() -> None:
    mesh = Mesh(config(RETRY))
    flow = mesh.call()
    effect = next(flow)

    for _ in range(2):
        assert isinstance(flow.send(Response(503)), Sleep)
        effect = flow.send(None)
    assert isinstance(effect, Send)
    response = delivered(flow.send(Response(503)))

    assert response.status == 503
    assert mesh.context.flags == ["URX"]
    assert mesh.context.attempts == 3


def test_a_body_that_outgrew_its_buffer_is_not_sent_again() -> None:
    mesh = Mesh(config(RETRY))
    flow = mesh.call()
    next(flow)
    mesh.context.body_replayable = False

    response = delivered(flow.send(Response(503)))

    assert response.status == 503
    assert mesh.context.attempts == 1


def test_the_routes_timeout_covers_all_tries() -> None:
    mesh = Mesh(config(RETRY.replace("{cluster: c", "{cluster: c, timeout: 2s")))
    flow = mesh.call()
    first = next(flow)
    assert isinstance(first, Send)
    mesh.clock.advance(1.5)
    flow.send(Response(503))

    second = flow.send(None)

    assert isinstance(second, Send)
    assert first.timeout == 2.0
    assert second.timeout == pytest.approx(0.5)
    late = delivered(flow.send(Reset(ResetReason.TIMEOUT)))
    assert (late.status, mesh.context.flags) == (504, ["UT"])


@pytest.mark.parametrize(
    ("reason", "status", "flag"),
    [
        (ResetReason.PROTOCOL_ERROR, 502, "UPE"),
        (ResetReason.CONNECT_FAILURE, 503, "UF"),
        (ResetReason.CONNECTION_TERMINATION, 503, "UC"),
    ],
)
def test_an_upstream_that_broke_the_protocol_is_a_bad_gateway(
    reason: ResetReason, status: int, flag: str
) -> None:
    mesh = Mesh(config("{cluster: c}"))
    flow = mesh.call()
    next(flow)

    response = delivered(flow.send(Reset(reason)))

    assert (response.status, mesh.context.flags) == (status, [flag])


def test_an_attempt_has_the_priority_of_its_route() -> None:
    for route, priority in (("{cluster: c}", "DEFAULT"), ("{cluster: c, priority: HIGH}", "HIGH")):
        effect = next(Mesh(config(route)).call())
        assert isinstance(effect, Send)
        assert effect.attempt.priority == priority


def test_a_dropped_call_gives_back_what_it_holds() -> None:
    mesh = Mesh(config("{cluster: c}"))
    flow = mesh.call()
    next(flow)

    flow.close()

    assert mesh.active("c") == 0


def test_an_exception_of_the_io_passes_and_gives_back_what_the_call_holds() -> None:
    mesh = Mesh(config("{cluster: c}"))
    flow = mesh.call()
    next(flow)

    with pytest.raises(KeyboardInterrupt):
        flow.throw(KeyboardInterrupt())

    assert mesh.active("c") == 0


def test_an_open_breaker_answers_503_overflow_without_an_attempt() -> None:
    limit = "circuit_breakers: {thresholds: [{max_requests: 1}]}"
    mesh = Mesh(config("{cluster: c}", more=limit))
    held = mesh.call()
    next(held)

    response = delivered(next(mesh.call()))

    assert (response.status, mesh.context.flags) == (503, ["UO"])
    assert response.headers.get("x-envoy-overloaded") == "true"


def dropping(share: str) -> Mesh:
    policy = f"policy: {{drop_overloads: [{{category: t, drop_percentage: {share}}}]}}"
    text = config("{cluster: c}")
    return Mesh(text.replace("{cluster_name: c,", f"{{cluster_name: c, {policy},"))


@pytest.mark.parametrize(
    ("share", "flag", "details", "header"),
    [
        ("{numerator: 100}", "UDO", "unconditional_drop_overload",
         "x-envoy-unconditional-drop-overload"),
        ("{numerator: 999999, denominator: MILLION}", "DO", "drop_overload",
         "x-envoy-drop-overload"),
    ],
)  # fmt: skip
def test_the_control_plane_has_calls_dropped(
    share: str, flag: str, details: str, header: str
) -> None:
    mesh = dropping(share)

    response = delivered(next(mesh.call()))

    assert response.status == 503
    assert response.headers.get(header) == "true"
    assert (mesh.context.flags, mesh.context.details) == ([flag], details)
    assert mesh.context.attempts == 0


def test_a_share_of_the_calls_is_dropped() -> None:
    mesh = dropping("{numerator: 25}")

    dropped = sum(isinstance(next(mesh.call()), Deliver) for _ in range(1000))

    assert 200 <= dropped <= 300


def test_a_retry_asks_the_newest_endpoints() -> None:
    mesh = Mesh(config(RETRY, ports=(9001,)))
    flow = mesh.call()
    assert sent_to(next(flow)) == "127.0.0.1:9001"
    flow.send(refused())

    mesh.push(config(RETRY, ports=(9005,)))

    assert sent_to(flow.send(None)) == "127.0.0.1:9005"


def test_a_push_resets_no_count_and_no_ejection() -> None:
    outlier = "outlier_detection: {consecutive_5xx: 1, max_ejection_percent: 100, base_ejection_time: 30s, interval: 10s}"
    mesh = Mesh(config("{cluster: c}", more=outlier))
    held = mesh.call()
    bad = sent_to(next(held))
    held.send(Response(503))

    mesh.push(config("{cluster: c, timeout: 3s}", more=outlier))
    flows = [mesh.call() for _ in range(4)]
    later = {sent_to(next(flow)) for flow in flows}

    assert bad not in later
    assert mesh.active("c") == 5


def test_an_ejection_is_told_once() -> None:
    outlier = "outlier_detection: {consecutive_5xx: 1, max_ejection_percent: 100, max_ejection_time_jitter: 0s}"
    mesh, events = Mesh(config("{cluster: c}", more=outlier)), list[Event]()
    mesh.live.emit = events.append
    first, second = mesh.call(), mesh.call()
    bad = sent_to(next(first))
    while sent_to(next(second)) != bad:
        second = mesh.call()

    first.send(Response(503))
    second.send(Response(503))

    assert events == [HostEjected("c", bad, 30.0, "last of them 503")]


def test_the_first_call_waits_for_configuration_and_says_what_it_waited_for() -> None:
    mesh = Mesh(config("{cluster: c}"))
    empty = Source(lambda: None, mesh.live, why_none=lambda: "istiod answers UNAVAILABLE")
    flow = outbound(empty, GET, TARGET, wait=2.0)

    waiting = next(flow)
    assert isinstance(waiting, WaitForConfig)
    mesh.clock.advance(2.0)

    with pytest.raises(NotReadyError, match=r"the first complete .* arrived: istiod answers UNAV"):
        flow.send(False)


def test_a_route_to_a_cluster_that_does_not_exist_answers_503_nc() -> None:
    mesh = Mesh(config("{cluster: gone}"))

    response = delivered(next(mesh.call()))

    assert (response.status, mesh.context.flags) == (503, ["NC"])


def test_a_field_that_is_not_built_is_named_to_the_call_that_meets_it() -> None:
    mesh = Mesh(config("{cluster: c, internal_redirect_policy: {}}"))

    response = delivered(next(mesh.call()))

    assert response.status == 500
    assert "internal_redirect_policy" in mesh.context.details


TCP = """
static_resources:
  listeners:
  - name: out
    address: {socket_address: {address: 0.0.0.0, port_value: 80}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: x
          cluster: %s
  clusters:
  - {name: PassthroughCluster, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s}
  - {name: BlackHoleCluster, type: STATIC, connect_timeout: 1s}
"""


def test_passthrough_dials_what_the_application_asked_for() -> None:
    mesh = Mesh(TCP % "PassthroughCluster")
    flow = mesh.call()

    dial = next(flow)
    assert isinstance(dial, Dial)
    handed = flow.send(Dialed("a stream", dial.host))
    finish(flow)

    assert str(dial.host.endpoint.address) == "reviews:80"
    assert isinstance(handed, Deliver)
    assert isinstance(handed.outcome, Dialed)


def test_https_is_never_sent_in_plaintext_by_an_http_listener() -> None:
    mesh = Mesh(config("{cluster: c}"))

    effect = next(mesh.call(target=Target("reviews", 443, tls=True)))

    assert isinstance(effect, Deliver)
    assert isinstance(effect.outcome, Reset)
    assert "https to reviews:443: the listener out reads HTTP" in effect.outcome.detail


def test_blackhole_refuses_and_names_registry_only() -> None:
    mesh = Mesh(TCP % "BlackHoleCluster")

    effect = next(mesh.call())

    assert isinstance(effect, Deliver)
    assert isinstance(effect.outcome, Reset)
    assert "REGISTRY_ONLY" in effect.outcome.detail


def test_a_body_that_breaks_off_counts_against_its_host() -> None:
    outlier = "outlier_detection: {consecutive_5xx: 1, max_ejection_percent: 100}"
    mesh = Mesh(config("{cluster: c}", more=outlier))
    flow = mesh.call()
    bad = sent_to(next(flow))
    flow.send(Response(200))

    cut = Reset(ResetReason.CONNECTION_TERMINATION, body_started=True)
    with pytest.raises(StopIteration):
        flow.send(BodyEnd(1, reset=cut))

    assert bad not in {sent_to(next(mesh.call())) for _ in range(4)}


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("cluster: PassthroughCluster", "hash_policy: [{source_ip: {}}]"),
        ("cluster: PassthroughCluster", "tunneling_config: {hostname: 'a:1'}"),
    ],
)
def test_a_tcp_proxy_with_a_field_that_is_not_built_fails_by_its_name(
    where: str, what: str
) -> None:
    proxy = (TCP % "PassthroughCluster").replace(where, f"{where}\n          {what}")

    effect = next(Mesh(proxy).call())

    assert isinstance(effect, Deliver)
    assert isinstance(effect.outcome, Reset)
    assert what.partition(":")[0] in effect.outcome.detail
    assert "not built" in effect.outcome.detail


def test_a_listener_with_a_field_that_is_not_built_fails_by_its_name() -> None:
    udp = (TCP % "PassthroughCluster").replace(
        "name: out", "name: out\n    udp_listener_config: {}"
    )

    effect = next(Mesh(udp).call())

    assert isinstance(effect, Deliver)
    assert isinstance(effect.outcome, Reset)
    assert "udp_listener_config" in effect.outcome.detail


SHARED_ROUTES = """
static_resources:
  listeners:
{listeners}
  clusters:
  - name: c
    type: STATIC
    connect_timeout: 1s
    load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 9001}}}}}}}}]}}]}}
route_configurations:
- name: shared
  virtual_hosts:
  - {{name: v, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: c, timeout: 0s}}}}]}}
"""
SHARING = """
  - name: out{port}
    address: {{socket_address: {{address: 0.0.0.0, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          common_http_protocol_options: {{max_stream_duration: {seconds}s}}
          rds: {{route_config_name: shared, config_source: {{ads: {{}}}}}}
          http_filters:
          - {{name: router, typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}
"""


def test_connection_managers_that_share_routes_keep_their_own_limits() -> None:
    both = SHARING.format(port=80, seconds=7) + SHARING.format(port=81, seconds=3)
    mesh = Mesh(SHARED_ROUTES.format(listeners=both))

    for port, limit in ((80, 7.0), (81, 3.0), (80, 7.0)):
        effect = next(mesh.call(GET, Target("reviews", port)))
        assert isinstance(effect, Send)
        assert effect.timeout == pytest.approx(limit)
