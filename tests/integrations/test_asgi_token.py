"""A token's whole way: jwt_authn verifies it, RBAC reads its claims, a guard and the handler see it."""

import json

from meshsdk import Mesh, Options, current_jwt, require
from meshsdk.config.yaml import load
from meshsdk.downstream.asgi_scope import AsgiReceive, AsgiSend, Scope
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.telemetry import CallDenied, Event
from tests.filters.jwt_case import CLAIMS, KEY, Time, jwks, token
from tests.integrations.asgi_server import PLAIN, Server, scope_of
from tests.integrations.raw_app import CONFIG

FILTERS = f"""
          http_filters:
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                one: {{issuer: issuer, payload_in_metadata: payload, local_jwks: {{inline_string: '{jwks(KEY)}'}}}}
              rules: [{{match: {{prefix: /}}, requires: {{requires_any: {{requirements: [{{provider_name: one}}, {{allow_missing: {{}}}}]}}}}}}]
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                policies:
                  clerks:
                    permissions: [{{any: true}}]
                    principals:
                    - metadata:
                        filter: envoy.filters.http.jwt_authn
                        path: [{{key: payload}}, {{key: role}}]
                        value: {{string_match: {{exact: clerk}}}}
"""
START = CONFIG.index("          http_filters:")
END = CONFIG.index("          - name: router")
JWT = CONFIG[:START] + FILTERS.lstrip("\n") + CONFIG[END:]


@require(claims={"team": "shop"})
async def handler(_scope: Scope, _receive: AsgiReceive, send: AsgiSend) -> None:
    found = current_jwt()
    assert found is not None
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(found.principal).encode()})


def asked(**claims: object) -> tuple[object, bytes, list[Event]]:
    events: list[Event] = []
    options = Options(clock=Time(), emit=events.append)
    server = Server(PLAIN)
    header = (b"authorization", f"Bearer {token({**CLAIMS, **claims})}".encode())
    with Mesh.static(load(JWT, "jwt.yaml"), options=options) as mesh:
        server.call(MeshMiddleware(handler, mesh), scope_of("/pay", *([header] if claims else [])))
    return server.status, server.content, [e for e in events if isinstance(e, CallDenied)]


def test_a_good_token_reaches_the_handler_typed() -> None:
    status, body, _ = asked(role="clerk", team="shop")

    assert (status, body) == (200, b'"issuer/alice"')


def test_policy_and_guard_each_have_their_say() -> None:
    by_policy = asked(role="guest", team="shop")
    by_guard = asked(role="clerk", team="other")

    assert by_policy[:2] == by_guard[:2] == (403, b"RBAC: access denied")
    [denied] = by_policy[2]
    assert isinstance(denied, CallDenied)
    record = denied.why.record()
    assert record is not None
    assert record.change is not None
    assert record.change.what == "claim role"
    assert "guest" not in str(record)
    assert by_guard[2] == []


def test_a_bad_token_is_401_and_none_has_no_claims() -> None:
    expired = asked(role="clerk", team="shop", exp=1)
    nobody = asked()

    assert expired[0] == 401
    assert nobody[0] == 403
