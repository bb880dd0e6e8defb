"""What the flows do for filters: waits, ends, answers of their own."""

import base64
import json
from collections.abc import Mapping

from meshsdk.call.effects import Send, Sleep
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Response
from tests.flow.plans import Mesh, config, delivered, finish, sent_to

FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
DELAY = {
    "@type": f"{FILTERS}.fault.v3.HTTPFault",
    "delay": {"fixed_delay": "2s", "percentage": {"numerator": 100}},
    "max_active_faults": 1,
}


def mutation(**mutations: object) -> Mapping[str, object]:
    return {
        "@type": f"{FILTERS}.header_mutation.v3.HeaderMutation",
        "mutations": mutations,
    }


def mesh(*filters: Mapping[str, object], route: str = "{cluster: c}") -> Mesh:
    """A mesh whose listener has these filters before its router."""
    entries = ({"name": f"f{i}", "typed_config": one} for i, one in enumerate(filters))
    indent = "\n          "
    return Mesh(config(route, filters=indent.join(f"- {json.dumps(e)}" for e in entries)))


def test_a_fault_counts_until_the_body_of_its_call_has_ended() -> None:
    on = mesh(DELAY)
    first = on.call()
    assert next(first) == Sleep(2.0)

    assert isinstance(next(on.call()), Send)  # the limit is reached
    assert isinstance(first.send(None), Send)
    delivered(first.send(Response(200)))
    assert isinstance(next(on.call()), Send)
    finish(first)

    assert next(on.call()) == Sleep(2.0)


def test_a_cancelled_call_counts_no_longer() -> None:
    on = mesh(DELAY)
    first = on.call()
    next(first)

    first.close()

    assert next(on.call()) == Sleep(2.0)


def test_a_filter_waits_no_longer_than_the_stream_may_last() -> None:
    on = mesh(DELAY, route="{cluster: c, max_stream_duration: {max_stream_duration: 0.5s}}")
    flow = on.call()

    assert next(flow) == Sleep(0.5)
    response = delivered(flow.send(None))
    finish(flow)

    assert (response.status, on.context.details) == (504, "max_duration_timeout")


def test_a_filter_waits_no_longer_than_the_stream_may_be_idle() -> None:
    on = mesh(DELAY, route="{cluster: c, idle_timeout: 0.5s}")
    flow = on.call()

    assert next(flow) == Sleep(0.5)
    response = delivered(flow.send(None))

    assert (response.status, on.context.details) == (504, "stream_idle_timeout")
    assert on.context.flags == ["DI", "SI"]


def test_a_request_that_lost_its_method_goes_nowhere() -> None:
    on = mesh(mutation(request_mutations=[{"remove": ":method"}]))

    response = delivered(next(on.call()))

    assert (response.status, response.body) == (503, b"missing required header: :method")
    assert on.context.flags == ["DPE"]


def test_an_answer_that_lost_its_status_is_502_and_no_earlier_filter_sees_it() -> None:
    tag = {"append": {"header": {"key": "x-tag", "value": "1"}}}
    on = mesh(
        mutation(response_mutations=[tag]),
        mutation(response_mutations=[{"remove": ":status"}]),
    )
    flow = on.call()
    next(flow)

    response = delivered(flow.send(Response(200)))

    assert response.status == 502
    assert "x-tag" not in response.headers
    assert on.context.details.startswith("filter_removed_required_response_headers")


def test_a_preflights_answer_is_the_filters_own_even_to_grpc() -> None:
    cors = {"@type": f"{FILTERS}.cors.v3.Cors"}
    policy = '{allow_origin_string_match: [{exact: "https://a.com"}]}'
    entry = json.dumps({"name": "envoy.filters.http.cors", "typed_config": cors})
    on = Mesh(config(f"{{cluster: c, cors: {policy}}}", filters=f"- {entry}"))
    headers = Headers(
        (
            ("origin", "https://a.com"),
            ("access-control-request-method", "PUT"),
            ("content-type", "application/grpc"),
        )
    )

    response = delivered(next(on.call(Request("OPTIONS", "reviews", "/", headers))))

    assert response.status == 200
    assert dict(response.headers) == {"access-control-allow-origin": "https://a.com"}


STATE = (
    "type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState"
)


def session(strict: bool) -> Mapping[str, object]:
    state = {"name": "h", "typed_config": {"@type": STATE, "name": "x-session"}}
    kind = f"{FILTERS}.stateful_session.v3.StatefulSession"
    return {"@type": kind, "session_state": state, "strict": strict}


def of(host: str) -> Request:
    """A request of a session at a host."""
    told = base64.b64encode(host.encode()).decode()
    return Request("GET", "reviews", "/", Headers((("x-session", told),)))


def test_a_session_stays_at_its_host() -> None:
    on = mesh(session(strict=False))

    assert {sent_to(next(on.call(of("127.0.0.1:9002")))) for _ in range(4)} == {"127.0.0.1:9002"}


def test_a_lost_host_is_replaced_unless_the_session_is_strict() -> None:
    lost = of("127.0.0.1:9999")
    flow = mesh(session(strict=False)).call(lost)
    assert sent_to(next(flow)).startswith("127.0.0.1:900")

    assert "x-session" in delivered(flow.send(Response(200, attempt=object()))).headers
    strict = mesh(session(strict=True))
    assert delivered(next(strict.call(lost))).status == 503
    assert strict.context.flags == ["UH"]


def test_a_retry_of_a_session_may_go_elsewhere() -> None:
    retry = "{cluster: c, retry_policy: {retry_on: 5xx, num_retries: 1}}"
    on = mesh(session(strict=False), route=retry)
    flow = on.call(of("127.0.0.1:9002"))
    assert sent_to(next(flow)) == "127.0.0.1:9002"

    assert isinstance(flow.send(Response(503)), Sleep)

    assert isinstance(flow.send(None), Send)


def test_later_filters_see_no_code_of_a_response_that_a_filter_made() -> None:
    cors = {"@type": f"{FILTERS}.cors.v3.Cors"}
    code = {"append": {"header": {"key": "x-code", "value": "%RESPONSE_CODE%"}}}
    entries = (
        {"name": "envoy.filters.http.cors", "typed_config": cors},
        {"name": "m", "typed_config": mutation(response_mutations=[code])},
    )
    filters = "\n          ".join(f"- {json.dumps(entry)}" for entry in entries)
    policy = '{allow_origin_string_match: [{exact: "https://a.com"}]}'
    on = Mesh(config(f"{{cluster: c, cors: {policy}}}", filters=filters))
    headers = Headers((("origin", "https://a.com"), ("access-control-request-method", "PUT")))

    response = delivered(next(on.call(Request("OPTIONS", "reviews", "/", headers))))

    assert response.headers.get("x-code") == "0"
