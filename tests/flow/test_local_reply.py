"""Answers of the mesh itself as local_reply_config wants them; `test_differential` has the rest."""

import pytest

from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Reset, ResetReason, Response
from meshsdk.errors import ConfigError
from tests.flow.plans import GET, Mesh, config, delivered, sent_to

UNAVAILABLE = "{status_code_filter: {comparison: {value: {default_value: 503, runtime_key: k}}}}"
GRPC = Request("POST", "reviews", "/", Headers([("content-type", "application/grpc")]))


def mesh(replies: str, route: str = "{cluster: missing}") -> Mesh:
    text = config(route)
    return Mesh(
        text.replace("stat_prefix: x", f"stat_prefix: x\n          local_reply_config: {replies}")
    )


def answer(on: Mesh, request: Request = GET) -> Response:
    return delivered(next(on.call(request)))


def test_a_format_makes_every_body() -> None:
    on = mesh("{body_format: {json_format: {code: '%RESPONSE_CODE%', why: '%RESPONSE_FLAGS%'}}}")

    found = answer(on)

    assert found.body == b'{"code":503,"why":"NC"}\n'
    assert found.headers.get("content-type") == "application/json"
    assert found.headers.get("content-length") == str(len(b'{"code":503,"why":"NC"}\n'))


def test_the_first_mapper_that_takes_an_answer_changes_it() -> None:
    added = "headers_to_add: [{header: {key: x-was, value: '%RESPONSE_CODE%'}}]"
    mapper = f"{{filter: {UNAVAILABLE}, status_code: 500, body: {{inline_string: sorry}}, {added}}}"
    on = mesh(f"{{mappers: [{mapper}, {{filter: {UNAVAILABLE}, status_code: 599}}]}}")

    found = answer(on)

    assert (found.status, found.body) == (500, b"sorry")
    assert found.headers.get("x-was") == "503"
    assert on.context.local_status == 500


def test_grpc_is_told_by_the_mapped_status() -> None:
    mapper = f"{{filter: {UNAVAILABLE}, status_code: 404, body: {{inline_string: gone}}}}"

    found = answer(mesh(f"{{mappers: [{mapper}]}}"), GRPC)

    assert (found.status, found.body) == (200, b"")
    assert found.headers.get("grpc-status") == "12"
    assert found.headers.get("grpc-message") == "gone"


def test_an_upstreams_own_answer_stays() -> None:
    mapper = f"{{filter: {UNAVAILABLE}, status_code: 500}}"
    on = mesh(f"{{mappers: [{mapper}], body_format: {{text_format: x}}}}", "{cluster: c}")
    flow = on.call()
    sent_to(next(flow))

    assert delivered(flow.send(Response(503))).status == 503

    flow = on.call()
    sent_to(next(flow))
    found = delivered(flow.send(Reset(ResetReason.CONNECT_FAILURE)))
    assert (found.status, found.body) == (500, b"x")


def test_a_mapper_needs_a_filter() -> None:
    with pytest.raises(ConfigError, match=r"mappers\[0\]"):
        mesh("{mappers: [{status_code: 500}]}")
