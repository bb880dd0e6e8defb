"""Applications that tell what they see, in a plaintext mesh: for servers in processes of their own."""

import json
from collections.abc import Iterable
from typing import Final, cast

from meshsdk.config.yaml import load
from meshsdk.downstream.asgi_scope import AsgiReceive, AsgiSend, Scope
from meshsdk.downstream.wsgi_environ import Environ, StartResponse
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.integrations.wsgi import MeshMiddleware as WsgiMiddleware
from meshsdk.mesh import Mesh

CONFIG: Final = """
static_resources:
  listeners:
  - name: inbound
    traffic_direction: INBOUND
    use_original_dst: true
    address: {socket_address: {address: 0.0.0.0, port_value: 15006}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: inbound
          generate_request_id: false
          normalize_path: true
          upgrade_configs: [{upgrade_type: websocket}]
          route_config:
            name: inbound
            virtual_hosts:
            - {name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: app}}]}
          http_filters:
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: DENY
                policies:
                  no-admin-page:
                    permissions: [{url_path: {path: {prefix: /admin}}}]
                    principals: [{any: true}]
                  no-admin-role:
                    permissions: [{any: true}]
                    principals: [{header: {name: x-role, string_match: {exact: admin}}}]
                  no-secret-host:
                    permissions: [{header: {name: ":authority", string_match: {exact: secret.test}}}]
                    principals: [{any: true}]
                  no-delete:
                    permissions: [{header: {name: ":method", string_match: {exact: DELETE}}}]
                    principals: [{any: true}]
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"""
mesh = Mesh.static(load(CONFIG, "inbound.yaml"))


async def _asgi(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
    kind = scope["type"]
    if kind == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if kind == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
        return
    more = True
    while more:
        more = bool((await receive()).get("more_body"))
    headers = cast("Iterable[tuple[bytes, bytes]]", scope["headers"])
    query = cast("bytes", scope["query_string"]).decode("latin-1")
    raw = cast("bytes", scope["raw_path"]).decode("latin-1")
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "raw": f"{raw}?{query}" if query else raw,
        "headers": [[n.decode("latin-1"), v.decode("latin-1")] for n, v in headers],
        "client": scope["client"],
    }
    body = json.dumps(seen).encode()
    start = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": start})
    await send({"type": "http.response.body", "body": body})


def _wsgi(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    while cast("bytes", environ["wsgi.input"].read(65536)):  # type: ignore[attr-defined]  # PEP 3333
        pass
    headers = [
        [key.removeprefix("HTTP_").replace("_", "-").lower(), str(value)]
        for key, value in environ.items()
        if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
    ]
    octets = f"{environ['SCRIPT_NAME']}{environ['PATH_INFO']}".encode("latin-1")
    seen = {
        "method": environ["REQUEST_METHOD"],
        "path": octets.decode("utf-8", "replace"),
        "raw": environ["RAW_URI"],
        "headers": headers,
        "client": [environ["REMOTE_ADDR"], int(str(environ["REMOTE_PORT"]))],
    }
    body = json.dumps(seen).encode()
    start_response(
        "200 OK", [("content-type", "application/json"), ("content-length", str(len(body)))]
    )
    return [body]


asgi = MeshMiddleware(_asgi, mesh)
wsgi = WsgiMiddleware(_wsgi, mesh)
