"""Answers on their way to the caller, and upgrades."""

from dataclasses import replace

from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Response
from meshsdk.resources.hcm_options import HcmOptions, ServerHeader, Upgrade
from meshsdk.routing.downstream import finish_response
from meshsdk.routing.upgrade import UPGRADE_FAILED, refuse_upgrade
from tests.routing.calls import choose, request, route, table

OPTIONS = HcmOptions(server_name="istio-envoy")
UPGRADE = Request("GET", "a", "/", Headers([("connection", "Upgrade"), ("upgrade", "WebSocket")]))


def test_hop_by_hop_fields_go_and_the_server_is_named() -> None:
    answer = Response(200, Headers([("connection", "close"), ("server", "app"), ("x", "1")]))

    finished = finish_response(answer, request(), OPTIONS)

    assert finished.headers.pairs == (("x", "1"), ("server", "istio-envoy"))


def test_a_server_name_may_pass() -> None:
    answer = Response(200, Headers([("server", "app")]))
    options = replace(OPTIONS, server_header_transformation=ServerHeader.PASS_THROUGH)

    assert finish_response(answer, request(), options) is answer


def test_the_request_id_is_told_where_that_is_asked() -> None:
    options = replace(OPTIONS, always_set_request_id_in_response=True, via="mesh")
    asked = request(headers=[("x-request-id", "7")])

    finished = finish_response(Response(200), asked, options)

    assert finished.headers.get("x-request-id") == "7"
    assert finished.headers.get("via") == "mesh"


def test_an_upgrade_passes_only_where_it_is_configured() -> None:
    allowing = replace(OPTIONS, upgrades=(Upgrade("websocket"),))

    assert refuse_upgrade(UPGRADE, OPTIONS, None) == UPGRADE_FAILED
    assert refuse_upgrade(UPGRADE, allowing, None) is None
    assert refuse_upgrade(request(), OPTIONS, None) is None


def test_a_route_decides_on_upgrades_before_the_connection_manager() -> None:
    configs = [{"upgrade_type": "websocket", "enabled": False}]
    chosen = choose(table(route({"prefix": "/"}, "x", upgrade_configs=configs)), request())
    allowing = replace(OPTIONS, upgrades=(Upgrade("websocket"),))

    assert refuse_upgrade(UPGRADE, allowing, chosen) == UPGRADE_FAILED
