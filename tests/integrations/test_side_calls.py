"""Side calls of filters end to end: over real sockets, inbound and outbound, blocking and not."""

import asyncio
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import httpx

from meshsdk.call.headers import Headers
from meshsdk.call.message import Request
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.integrations.httpx import AsyncMeshTransport, MeshTransport
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.wire.json_form import from_json, to_json
from meshsdk.wire.pool import parse_message
from tests.filters.jwt_case import KEY, jwks, token
from tests.integrations.asgi_server import PLAIN, App, Server, scope_of
from tests.integrations.side_mesh import KeyServer, app, cluster, mesh_of, named
from tests.upstream.h2_server import Served2, h2
from tests.upstream.one_cluster import HandClock
from tests.upstream.raw_server import RawServer, Served, serving

_LATER = int(time.time()) + 3600
GOOD = token({"iss": "issuer", "sub": "alice", "exp": _LATER})
STRANGE = token({"iss": "issuer", "sub": "bob", "exp": _LATER}, {"alg": "HS256", "kid": "other"})


def jwt(**remote: object) -> Mapping[str, object]:
    """jwt_authn with the keys of the cluster `keys`."""
    uri = {"uri": "http://keys.test/jwks", "cluster": "keys", "timeout": "5s"}
    provider = {"issuer": "issuer", "remote_jwks": {"http_uri": uri, **remote}}
    return named(
        "envoy.filters.http.jwt_authn",
        "jwt_authn.v3.JwtAuthentication",
        providers={"one": provider},
        rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "one"}}],
    )


def jwt_mesh(
    keys: RawServer, backend: RawServer | None = None, options: Options | None = None
) -> Mesh:
    port = 1 if backend is None else backend.address.port
    clusters = [cluster("keys", keys.address.port), cluster("app", port)]
    return mesh_of([jwt(async_fetch={}, cache_duration="300s")], clusters, options=options)


async def inbound(mesh: Mesh, bearer: str) -> int:
    """The status of one request to an ASGI server."""
    server = Server(PLAIN)
    scope = scope_of("/", (b"authorization", f"Bearer {bearer}".encode()))
    await MeshMiddleware(App(), mesh)(scope, server.receive, server.send)
    return cast("int", server.status)


def test_concurrent_requests_make_one_fetch_and_the_loop_goes_on() -> None:
    keys = KeyServer(jwks(KEY), is_slow=True)

    async def work(mesh: Mesh) -> tuple[list[int], int]:
        calls = [asyncio.create_task(inbound(mesh, GOOD)) for _ in range(20)]
        turns = 0
        while not keys.was_asked.is_set() or turns < 5:
            turns += 1
            await asyncio.sleep(0)
        keys.may_answer.set()
        return await asyncio.gather(*calls), turns

    with serving(keys.script) as server, jwt_mesh(server) as mesh:
        statuses, turns = asyncio.run(work(mesh))

    assert statuses == [200] * 20
    assert turns >= 5
    assert keys.asked == 1


def test_threads_of_a_blocking_client_make_one_fetch() -> None:
    keys = KeyServer(jwks(KEY), is_slow=True)
    with (
        serving(keys.script) as server,
        serving(app) as backend,
        jwt_mesh(server, backend) as mesh,
        httpx.Client(transport=MeshTransport(mesh)) as client,
        ThreadPoolExecutor(8) as pool,
    ):

        def call(_: int) -> int:
            bearer = {"authorization": f"Bearer {GOOD}"}
            return client.get("http://shop/", headers=bearer).status_code

        calls = pool.map(call, range(8))
        keys.was_asked.wait(10)
        keys.may_answer.set()
        statuses = list(calls)

    assert statuses == [200] * 8
    assert keys.asked == 1


def test_keys_are_renewed_aside_while_calls_go_on() -> None:
    keys, clock = KeyServer(jwks(KEY)), HandClock()

    async def work(mesh: Mesh) -> list[int]:
        first = await inbound(mesh, GOOD)
        clock.ahead += 280.0
        keys.was_asked.clear()
        keys.may_answer.clear()
        meanwhile = [await inbound(mesh, GOOD) for _ in range(5)]
        await asyncio.to_thread(keys.was_asked.wait, 10)
        return [first, *meanwhile]

    with serving(keys.script) as server, jwt_mesh(server, None, Options(clock=clock)) as mesh:
        statuses = asyncio.run(work(mesh))
        keys.may_answer.set()

    assert statuses == [200] * 6
    assert keys.asked == 2


def test_unknown_kids_do_not_storm_the_issuer() -> None:
    keys = KeyServer(jwks(KEY))

    async def work(mesh: Mesh) -> list[int]:
        first = await inbound(mesh, GOOD)
        return [first, *[await inbound(mesh, STRANGE) for _ in range(10)]]

    with serving(keys.script) as server, jwt_mesh(server) as mesh:
        statuses = asyncio.run(work(mesh))

    assert statuses == [200] + [401] * 10
    assert keys.asked == 2  # once for keys, once more for the unknown kid


def test_an_issuer_that_redirects_or_is_down_refuses_tokens_and_is_left_in_peace() -> None:
    moved = KeyServer(jwks(KEY), status="302 Found")

    async def work(mesh: Mesh) -> list[int]:
        return [await inbound(mesh, GOOD) for _ in range(10)]

    with serving(moved.script) as server, jwt_mesh(server) as mesh:
        refused = asyncio.run(work(mesh))
    with jwt_mesh(server) as mesh:  # nobody listens there now
        down = asyncio.run(work(mesh))

    assert refused == down == [401] * 10
    assert moved.asked == 1


def test_explain_says_who_would_be_asked_and_asks_nobody() -> None:
    keys = KeyServer(jwks(KEY))
    request = Request("GET", "shop", "/", Headers([("authorization", f"Bearer {GOOD}")]))
    with serving(keys.script) as server, jwt_mesh(server) as mesh:
        found = mesh.explain(request)

    assert found.details == "asks cluster keys, which decides"
    assert keys.asked == 0


# -- ext_authz ----------------------------------------------------------------------------------------


def _authz(**config: object) -> Mapping[str, object]:
    return named("envoy.filters.http.ext_authz", "ext_authz.v3.ExtAuthz", **config)


def test_an_http_service_decides_for_clients_of_both_kinds() -> None:
    def authz(served: Served) -> None:
        while head := served.head():
            allows = head.startswith(b"GET /ok ")
            status, body = (b"200 OK", b"") if allows else (b"401 No", b"who?")
            fields = b"x-user: alice\r\ncontent-length: %d\r\n" % len(body)
            served.send(b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, fields, body))

    service = {
        "server_uri": {"uri": "http://authz", "cluster": "authz", "timeout": "5s"},
        "authorization_response": {"allowed_upstream_headers": {"patterns": [{"exact": "x-user"}]}},
    }
    with serving(authz) as server, serving(app) as backend:
        clusters = [cluster("authz", server.address.port), cluster("app", backend.address.port)]
        with mesh_of([_authz(http_service=service)], clusters) as mesh:
            with httpx.Client(transport=MeshTransport(mesh)) as client:
                blocking = [client.get(f"http://shop/{path}") for path in ("ok", "no")]

            async def work() -> list[httpx.Response]:
                async with httpx.AsyncClient(transport=AsyncMeshTransport(mesh)) as client:
                    return [await client.get(f"http://shop/{path}") for path in ("ok", "no")]

            awaiting = asyncio.run(work())

    for allowed, denied in (blocking, awaiting):
        assert allowed.status_code == 200
        assert "x-user: alice" in json.loads(allowed.text)
        assert (denied.status_code, denied.text) == (401, "who?")
        assert denied.extensions["meshsdk"]["flags"] == ("UAEX",)
        assert denied.extensions["meshsdk"]["details"] == "ext_authz_denied"


def test_istios_custom_policy_asks_a_grpc_service_where_the_shadow_rbac_matched() -> None:
    asked: list[Mapping[str, object]] = []

    def authz(served: Served2) -> None:
        while (request := served.request()) is not None:
            stream, _, body = request
            check = to_json(parse_message("envoy.service.auth.v3.CheckRequest", body[5:]))
            asked.append(check)
            answer = {"status": {"code": 7}, "denied_response": {"body": "not you"}}
            raw = from_json("envoy.service.auth.v3.CheckResponse", answer).SerializeToString()
            framed = b"\0" + len(raw).to_bytes(4, "big") + raw
            content_type = (b"content-type", b"application/grpc")
            served.answer(stream, framed, content_type, trailers={b"grpc-status": b"0"})

    shadow = {
        "shadow_rules_stat_prefix": "istio_ext_authz_",
        "shadow_rules": {
            "action": "DENY",
            "policies": {
                "istio-ext-authz-ns[a]-policy[p]-rule[0]": {
                    "permissions": [{"url_path": {"path": {"prefix": "/pay"}}}],
                    "principals": [{"any": True}],
                }
            },
        },
    }
    matcher = {
        "filter": "envoy.filters.http.rbac",
        "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
        "value": {"string_match": {"prefix": "istio-ext-authz"}},
    }
    filters = [
        named("envoy.filters.http.rbac", "rbac.v3.RBAC", **shadow),
        _authz(
            transport_api_version="V3",
            filter_enabled_metadata=matcher,
            grpc_service={"envoy_grpc": {"cluster_name": "authz"}, "timeout": "600s"},
        ),
    ]

    async def work(mesh: Mesh) -> list[tuple[object, bytes]]:
        found: list[tuple[object, bytes]] = []
        for path in ("/open", "/pay/1"):
            server = Server(PLAIN)
            await MeshMiddleware(App(), mesh)(scope_of(path), server.receive, server.send)
            found.append((server.status, server.content))
        return found

    with serving(h2(authz)) as server:
        clusters = [cluster("authz", server.address.port, h2=True), cluster("app", 1)]
        with mesh_of(filters, clusters) as mesh:
            opened, paid = asyncio.run(work(mesh))

    assert opened[0] == 200
    assert paid == (403, b"not you")
    assert len(asked) == 1
