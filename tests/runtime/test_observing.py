"""Calls as telemetry sees them: metrics, access logs, the application's hook."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry import trace

from meshsdk.call.effects import CallApp, Deliver, Flow, Send
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, Reset, ResetReason, Response
from meshsdk.config.bootstrap import Node
from meshsdk.flow.inbound import inbound
from meshsdk.runtime.observing import Observing, told_to_peers
from meshsdk.runtime.options import Options
from meshsdk.telemetry import ConfigReported, Event
from meshsdk.telemetry.seen_call import SeenCall
from meshsdk.wire.peer_metadata import decode, encode
from tests.flow.plans import GET, Mesh, config
from tests.flow.test_inbound import ALICE, BOB, REQUEST, chain, connection, listener
from tests.telemetry.test_spans import Recording

NODE = Node(
    "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local",
    metadata={
        "NAMESPACE": "shop",
        "NAME": "web-1",
        "WORKLOAD_NAME": "web",
        "CLUSTER_ID": "Kubernetes",
        "LABELS": {"app": "web", "version": "v2", "secret": "x"},
        "PROXY_CONFIG": {},
    },
)
STATS = """- name: istio.stats
            typed_config: {"@type": type.googleapis.com/stats.PluginConfig}"""
FILE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


class Seen:
    """A mesh with telemetry, and what it wrote."""

    def __init__(self, text: str, options: Options | None = None) -> None:
        self.mesh = Mesh(text)
        self.events: list[Event] = []
        self.observing = Observing(options or Options(), NODE, self.events.append)
        self.observing.is_own_configuration = True
        self.mesh.live.telemetry = self.observing

    def call(
        self,
        *answers: Response | Reset,
        end: BodyEnd | None = None,
        fields: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """A whole call."""
        request = replace(GET, headers=Headers(fields))
        flow = self.mesh.call(request)
        finish(flow, answers, end or BodyEnd(2, 3), self.mesh)

    def total(self) -> list[str]:
        lines = self.observing.lines(self.mesh.live)
        return [line for line in lines if line.startswith("istio_requests_total{")]


def finish(
    flow: Flow[None], answers: tuple[Response | Reset, ...], end: BodyEnd, mesh: Mesh
) -> None:
    effect, left = next(flow), list(answers)
    while not isinstance(effect, Deliver):
        mesh.clock.advance(0.25)
        effect = flow.send(left.pop(0) if isinstance(effect, Send) else None)
    mesh.clock.advance(0.25)
    with pytest.raises(StopIteration):
        flow.send(end)


def with_logs(*loggers: str) -> str:
    return config("{cluster: c}", ports=(9001,)).replace(
        "stat_prefix: x", f"stat_prefix: x\n          access_log: [{', '.join(loggers)}]"
    )


def logger(path: Path, log_format: str, log_filter: str = "") -> str:
    more = f", filter: {log_filter}" if log_filter else ""
    return f'{{name: f, typed_config: {{"@type": {FILE}, path: "{path}", log_format: {log_format}}}{more}}}'


# -- metrics ----------------------------------------------------------------------------------


def test_a_call_is_counted_where_the_feed_asks_for_it() -> None:
    seen = Seen(config("{cluster: c}", filters=STATS))

    seen.call(Response(200))
    seen.call(Response(200))

    only = seen.total()
    assert len(only) == 1
    assert only[0].endswith(" 2")
    for label in (
        'reporter="source"',
        'source_workload="web"',
        'source_workload_namespace="shop"',
        'source_canonical_service="web"',
        'source_canonical_revision="v2"',
        'source_app="web"',
        'source_version="v2"',
        'source_cluster="Kubernetes"',
        'destination_service="reviews"',
        'destination_workload="unknown"',
        'request_protocol="http"',
        'response_code="200"',
        'response_flags="-"',
        'connection_security_policy="unknown"',
    ):
        assert label in only[0]


def test_metrics_and_labels_that_the_feed_does_not_want_are_not_there() -> None:
    stats = STATS.replace(
        "stats.PluginConfig}",
        "stats.PluginConfig, metrics: [{name: request_bytes, drop: true}, {name: requests_total,"
        " tags_to_remove: [source_app, response_code]}, {tags_to_remove: [source_version]}]}",
    )
    seen = Seen(config("{cluster: c}", filters=stats))

    seen.call(Response(200))
    seen.call(Response(201))
    lines = list(seen.observing.lines(seen.mesh.live))

    assert len(seen.total()) == 1
    assert seen.total()[0].endswith(" 2")
    assert "source_app=" not in seen.total()[0]
    assert not any("source_version=" in line for line in lines)
    assert not any(line.startswith("istio_request_bytes") for line in lines)
    counts = [line for line in lines if line.startswith("istio_response_bytes_count{")]
    assert ["source_app=" in line and line.endswith(" 1") for line in counts] == [True, True]


def test_without_a_word_of_the_feed_nothing_is_counted_unless_the_user_says_so() -> None:
    asked = Seen(config("{cluster: c}"), Options(metrics="always"))
    unasked = Seen(config("{cluster: c}"))
    never = Seen(config("{cluster: c}", filters=STATS), Options(metrics="never"))

    for seen in (asked, unasked, never):
        seen.call(Response(200))

    assert [len(seen.total()) for seen in (asked, unasked, never)] == [1, 0, 0]


def test_the_endpoint_tells_which_workload_it_is() -> None:
    text = config("{cluster: c}", ports=(9001,)).replace(
        "port_value: 9001}}}}",
        "port_value: 9001}}}, metadata: {filter_metadata: {istio: {workload:"
        " reviews-v1;shop;reviews;v1;East}}}}",
    )
    seen = Seen(text, Options(metrics="always"))

    seen.call(Response(503, Headers([("x-a", "1")])))

    for label in (
        'destination_workload="reviews-v1"',
        'destination_workload_namespace="shop"',
        'destination_canonical_service="reviews"',
        'destination_canonical_revision="v1"',
        'destination_cluster="East"',
        'response_code="503"',
    ):
        assert label in seen.total()[0]


def test_what_the_mesh_answers_itself_has_its_flags() -> None:
    seen = Seen(config("{cluster: c}", ports=()), Options(metrics="always"))

    seen.call()

    assert 'response_code="503",response_flags="UH"' in seen.total()[0]


def test_a_grpc_call_is_counted_by_its_status() -> None:
    seen = Seen(config("{cluster: c}"), Options(metrics="always"))

    seen.call(
        Response(200),
        end=BodyEnd(2, 3, trailers=Headers([("grpc-status", "7")])),
        fields=(("content-type", "application/grpc"),),
    )

    assert 'request_protocol="grpc",response_code="200"' in seen.total()[0]
    assert 'grpc_response_status="7"' in seen.total()[0]


def test_a_caller_that_goes_away_is_counted_too() -> None:
    seen = Seen(config("{cluster: c}"), Options(metrics="always"))
    flow = seen.mesh.call()
    next(flow)

    flow.close()

    assert 'response_code="0",response_flags="DC"' in seen.total()[0]
    assert seen.mesh.active("c") == 0


def test_explain_is_no_call() -> None:
    seen = Seen(config("{cluster: c}"), Options(metrics="always"))
    flow = seen.mesh.call()
    seen.mesh.context.tracing = lambda step, decided: None
    flow.close()

    assert seen.total() == []


# -- access logs ------------------------------------------------------------------------------


def written(seen: Seen, path: Path) -> str:
    seen.observing.files.close()
    return path.read_text() if path.exists() else ""


def test_a_call_is_written_as_the_feed_says(tmp_path: Path) -> None:
    path = tmp_path / "log"
    text = (
        '"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE%'
        " %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION%"
        " %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% %UPSTREAM_HOST% %UPSTREAM_CLUSTER%"
        " %UPSTREAM_LOCAL_ADDRESS%\\n"
    )
    quoted = json.dumps({"text_format_source": {"inline_string": text.replace("\\n", "\n")}})
    seen = Seen(with_logs(logger(path, quoted)))

    seen.call(Response(200))

    assert written(seen, path) == (
        '"GET /ratings HTTP/1.1" 200 - via_upstream 3 2 500 250 127.0.0.1:9001 c -\n'
    )


def test_json_keeps_numbers_and_says_null(tmp_path: Path) -> None:
    path = tmp_path / "log"
    form = '{json_format: {code: "%RESPONSE_CODE%", sent: "%BYTES_SENT%", why: "%UPSTREAM_TRANSPORT_FAILURE_REASON%"}}'
    seen = Seen(with_logs(logger(path, form)))

    seen.call(Response(201))

    assert json.loads(written(seen, path)) == {"code": 201, "sent": 2, "why": None}


def test_a_connection_that_failed_has_its_reason_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    form = '{text_format: "%RESPONSE_FLAGS% %RESPONSE_CODE% %UPSTREAM_TRANSPORT_FAILURE_REASON%"}'
    seen = Seen(with_logs(logger(path, form)))

    seen.call(Reset(ResetReason.CONNECT_FAILURE, "Connection refused", request_sent=False))

    assert written(seen, path) == "UF 503 Connection_refused"


@pytest.mark.parametrize(
    ("log_filter", "codes"),
    [
        ("{status_code_filter: {comparison: {op: GE, value: {default_value: 500}}}}", "503 "),
        ("{status_code_filter: {comparison: {op: LE, value: {default_value: 499}}}}", "200 "),
        ("{response_flag_filter: {flags: [UF]}}", "503 "),
        ("{response_flag_filter: {}}", "503 "),
        ("{header_filter: {header: {name: x-a, string_match: {exact: b}}}}", "200 503 "),
        ("{header_filter: {header: {name: x-a, present_match: true, invert_match: true}}}", ""),
        ("{duration_filter: {comparison: {op: GE, value: {default_value: 500}}}}", "200 503 "),
        ("{duration_filter: {comparison: {op: GE, value: {default_value: 900}}}}", ""),
        (
            "{and_filter: {filters: [{response_flag_filter: {}}, {not_health_check_filter: {}}]}}",
            "503 ",
        ),
        (
            "{or_filter: {filters: [{response_flag_filter: {flags: [NR]}},"
            " {status_code_filter: {comparison: {op: EQ, value: {default_value: 200}}}}]}}",
            "200 ",
        ),
        ("{runtime_filter: {runtime_key: k, percent_sampled: {numerator: 100}}}", "200 503 "),
        ("{runtime_filter: {runtime_key: k}}", ""),
        ("{log_type_filter: {types: [DownstreamEnd]}}", "200 503 "),
        ("{log_type_filter: {types: [DownstreamStart]}}", ""),
        ("{grpc_status_filter: {statuses: [UNAVAILABLE]}}", "503 "),
    ],
)
def test_a_filter_says_which_calls_are_written(tmp_path: Path, log_filter: str, codes: str) -> None:
    path = tmp_path / "log"
    seen = Seen(with_logs(logger(path, '{text_format: "%RESPONSE_CODE% "}', log_filter)))

    seen.call(Response(200), fields=(("x-a", "b"),))
    seen.call(
        Reset(ResetReason.CONNECT_FAILURE, "refused", request_sent=False), fields=(("x-a", "b"),)
    )

    assert written(seen, path) == codes


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    seen = Seen(with_logs(logger(path, '{text_format: "%RESPONSE_CODE%"}')))
    seen.call(Response(200))
    seen.observing.files.flush()

    path.rename(tmp_path / "log.1")
    seen.call(Response(201))

    assert written(seen, path) == "201"
    assert (tmp_path / "log.1").read_text() == "200"


def test_a_file_that_cannot_be_written_loses_lines_and_no_call(tmp_path: Path) -> None:
    path = tmp_path / "none" / "log"
    seen = Seen(with_logs(logger(path, '{text_format: "%RESPONSE_CODE%\\n"}')))

    seen.call(Response(200))
    seen.observing.files.flush()

    assert seen.observing.files.lost == 1


def test_a_control_plane_names_no_files_unless_the_application_lets_it(tmp_path: Path) -> None:
    text = with_logs(logger(tmp_path / "log", '{text_format: "%RESPONSE_CODE%"}'))
    asked, unasked = Seen(text, Options(access_log_files=True)), Seen(text)
    asked.observing.is_own_configuration = unasked.observing.is_own_configuration = False

    unasked.call(Response(200))
    asked.call(Response(201))

    assert written(asked, tmp_path / "log") == "201"
    assert [type(event) for event in unasked.events] == [ConfigReported]
    assert asked.events == []


def test_loggers_that_are_not_built_are_named_and_nothing_else() -> None:
    als = "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
    seen = Seen(with_logs(f'{{name: als, typed_config: {{"@type": {als}}}}}'))
    assert seen.mesh.plan is not None

    listener = seen.mesh.plan.by_name["out"].listener
    seen.call(Response(200))

    assert any(als in why for _, why in listener.reports)
    assert listener.not_built == ()


# -- the application's hook, and failures -------------------------------------------------------


def test_the_hook_sees_the_whole_call() -> None:
    calls: list[SeenCall] = []
    seen = Seen(config("{cluster: c}"), Options(on_call=calls.append))

    seen.call(Response(200))

    assert [(c.seconds, c.end, c.context.cluster) for c in calls] == [(0.5, BodyEnd(2, 3), "c")]


class UnheardOfError(Exception):
    """Of no other test."""


def test_telemetry_that_fails_fails_no_call_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(call: SeenCall) -> None:
        raise UnheardOfError

    seen = Seen(config("{cluster: c}"), Options(on_call=broken, metrics="always"))

    seen.call(Response(200))
    seen.call(Response(200))

    assert seen.total()[0].endswith(" 2")
    assert caplog.text.count("telemetry of a call failed") == 1
    assert seen.mesh.active("c") == 0


def test_a_recorder_that_cannot_be_made_fails_no_call(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def recorder(self, hcm: object, *, is_inbound: bool) -> None:
            raise MemoryError

    seen = Seen(config("{cluster: c}"))
    seen.mesh.live.telemetry = Broken()

    seen.call(Response(200))
    seen.call(Response(200))

    assert caplog.text.count("telemetry of a call failed") == 1


def test_what_a_call_raises_goes_through() -> None:
    calls: list[SeenCall] = []
    seen = Seen(config("{cluster: c}"), Options(on_call=calls.append))
    flow = seen.mesh.call()
    next(flow)

    with pytest.raises(ZeroDivisionError):
        flow.throw(ZeroDivisionError())

    assert [call.outcome for call in calls] == [None]


class Provider(trace.TracerProvider):
    """Of one tracer."""

    def __init__(self) -> None:
        self.tracer = Recording()

    def get_tracer(self, *args: object, **kwargs: object) -> Recording:
        return self.tracer


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    """The application's SDK. OpenTelemetry lets nobody install a second one in a process."""
    installed = Provider()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", installed)
    return installed


def test_an_sdk_that_is_installed_before_the_first_call_gets_the_spans(
    provider: Provider,
) -> None:
    asked, unasked = (
        Seen(config("{cluster: c}")),
        Seen(config("{cluster: c}"), Options(spans=False)),
    )

    asked.call(Response(200))
    unasked.call(Response(200))

    assert [span.name for span in provider.tracer.spans] == ["GET", "GET"]


def test_spans_have_the_tags_of_the_feed(provider: Provider) -> None:
    tags = (
        "{custom_tags: [{tag: mesh, literal: {value: m}}, {tag: agent, request_header:"
        " {name: User-Agent, default_value: none}}, {tag: none, metadata: {kind: {request: {}},"
        " metadata_key: {key: envoy.filters.http.rbac, path: [{key: x}]}}}]}"
    )
    text = config("{cluster: c}").replace(
        "stat_prefix: x", f"stat_prefix: x\n          tracing: {tags}"
    )
    seen = Seen(text)

    seen.call(Response(200), fields=(("user-agent", "curl"),))

    attributes = provider.tracer.spans[0].attributes
    assert (attributes["mesh"], attributes["agent"]) == ("m", "curl")
    assert "none" not in attributes


def test_a_grpc_status_that_is_none_makes_no_series() -> None:
    seen = Seen(config("{cluster: c}"), Options(metrics="always"))

    for status in ("a", "b" * 1000, "99999"):
        end = BodyEnd(2, 3, trailers=Headers([("grpc-status", status)]))
        seen.call(Response(200), end=end, fields=(("content-type", "application/grpc"),))

    assert [line.rpartition(" ")[2] for line in seen.total()] == ["3"]


# -- who we are -------------------------------------------------------------------------------


def test_peers_are_told_what_labels_need_and_nothing_else() -> None:
    fields = dict(told_to_peers(NODE))

    assert fields["x-envoy-peer-metadata-id"] == NODE.id
    assert decode(fields["x-envoy-peer-metadata"]) == {
        "NAMESPACE": "shop",
        "NAME": "web-1",
        "WORKLOAD_NAME": "web",
        "CLUSTER_ID": "Kubernetes",
        "LABELS": {"app": "web", "version": "v2"},
    }


def test_a_mesh_without_a_node_tells_nothing() -> None:
    assert told_to_peers(Node("")) == ()


# -- servers ----------------------------------------------------------------------------------

PEER = {
    "WORKLOAD_NAME": "cart",
    "NAMESPACE": "shop",
    "CLUSTER_ID": "West",
    "LABELS": {"app": "cart", "service.istio.io/canonical-name": "cart-api"},
}
EXCHANGE = """- name: istio.metadata_exchange
            typed_config:
              "@type": type.googleapis.com/udpa.type.v1.TypedStruct
              type_url: type.googleapis.com/io.istio.http.peer_metadata.Config
              value:
                downstream_discovery: [{istio_headers: {}}, {workload_discovery: {}}]
                downstream_propagation: [{istio_headers: {}}]
"""


def test_a_server_counts_by_who_calls_and_hides_it_from_the_application() -> None:
    match = "{destination_port: 8080, transport_protocol: tls}"
    text = listener(chain(match, allowed=ALICE, tls=True))
    before = "          - name: envoy.filters.http.rbac"
    seen = Seen(text.replace(before, f"          {EXCHANGE}{before}"), Options(metrics="always"))
    request = replace(
        REQUEST, headers=Headers([("x-envoy-peer-metadata", encode(PEER)), ("x-a", "1")])
    )

    flow = inbound(seen.mesh.source, request, connection(ALICE))
    effect = next(flow)
    assert isinstance(effect, CallApp)
    flow.send(Response(200))
    with pytest.raises(StopIteration):
        flow.send(BodyEnd(2, 3))

    assert "x-envoy-peer-metadata" not in effect.request.headers
    for label in (
        'reporter="destination"',
        'source_workload="cart"',
        'source_workload_namespace="shop"',
        'source_canonical_service="cart-api"',
        'source_cluster="West"',
        f'source_principal="{ALICE}"',
        'destination_workload="web"',
        'destination_service_name="web"',
        'connection_security_policy="mutual_tls"',
        'response_code="200"',
    ):
        assert label in seen.total()[0]


def test_pods_of_one_workload_share_a_series() -> None:
    match = "{destination_port: 8080, transport_protocol: tls}"
    text = listener(chain(match, allowed=ALICE, tls=True))
    before = "          - name: envoy.filters.http.rbac"
    seen = Seen(text.replace(before, f"          {EXCHANGE}{before}"), Options(metrics="always"))
    pods = [encode(PEER | {"NAME": f"cart-{i}"}) for i in range(3)]
    invented = [encode({"WORKLOAD_NAME": "x" * 10_000}), "A" * 60_000]

    for said in [*pods, *invented]:
        request = replace(REQUEST, headers=Headers([("x-envoy-peer-metadata", said)]))
        flow = inbound(seen.mesh.source, request, connection(ALICE))
        next(flow)
        flow.send(Response(200))
        with pytest.raises(StopIteration):
            flow.send(BodyEnd(2, 3))

    series = list(seen.observing.metrics.series())
    assert [one.count for one in series] == [3, 2]
    assert series[1].labels["source_workload"] == "unknown"


def test_an_application_that_raises_is_counted_as_its_server_answers() -> None:
    match = "{destination_port: 8080, transport_protocol: tls}"
    calls: list[SeenCall] = []
    options = Options(metrics="always", on_call=calls.append)
    seen = Seen(listener(chain(match, allowed=ALICE, tls=True)), options)
    flow = inbound(seen.mesh.source, REQUEST, connection(ALICE))
    next(flow)

    with pytest.raises(ZeroDivisionError):
        flow.throw(ZeroDivisionError())

    assert 'response_code="500",response_flags="-"' in seen.total()[0]
    assert isinstance(calls[0].error, ZeroDivisionError)


def test_a_request_that_policy_refuses_is_counted_too() -> None:
    match = "{destination_port: 8080, transport_protocol: tls}"
    seen = Seen(listener(chain(match, allowed=BOB, tls=True)), Options(metrics="always"))

    flow = inbound(seen.mesh.source, REQUEST, connection(ALICE))
    assert isinstance(next(flow), Deliver)
    with pytest.raises(StopIteration):
        flow.send(BodyEnd(19))

    assert 'response_code="403"' in seen.total()[0]
