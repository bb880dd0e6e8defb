"""The whole inbound path: uvicorn, our TLS, Envoy-style configuration, istiod's kind of policy."""

import json
from collections.abc import Generator
from contextlib import closing

import pytest

from meshsdk.config.yaml import load
from meshsdk.identity import X509Context
from meshsdk.mesh import Mesh
from tests.downstream.mesh import CA, ORDER, ORDER_ID, PAYMENT, PAYMENT_ID, client_context, stranger
from tests.integrations.test_uvicorn import app
from tests.integrations.uvicorn_server import Client, Flavour, ask, uvicorn

ISTIO = "[istio, istio-peer-exchange, istio-http/1.0, istio-http/1.1, istio-h2]"
CHAIN = """
    - name: {name}
      filter_chain_match: {match}
      {socket}
      filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: inbound
          forward_client_cert_details: APPEND_FORWARD
          set_current_client_cert_details: {{subject: true, dns: true, uri: true}}
          normalize_path: true
          upgrade_configs: [{{upgrade_type: websocket}}]
          route_config:
            name: inbound|8080||
            virtual_hosts:
            - name: inbound|http|80
              domains: ["*"]
              routes: [{{name: default, match: {{prefix: /}}, route: {{cluster: inbound|8080||}}}}]
          http_filters:
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                policies:
                  order-may-pay:
                    permissions: [{{url_path: {{path: {{prefix: /pay}}}}}}]
                    principals: [{{authenticated: {{principal_name: {{exact: "{order}"}}}}}}]
                  anybody-may-look:
                    permissions: [{{url_path: {{path: {{exact: /open}}}}}}]
                    principals: [{{any: true}}]
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"""
SOCKET = """transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificate_sds_secret_configs: [{name: default, sds_config: {ads: {}}}]
            combined_validation_context:
              default_validation_context:
                match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: "spiffe://cluster.local/"}}]
              validation_context_sds_secret_config: {name: ROOTCA, sds_config: {ads: {}}}
"""
LISTENER = """
static_resources:
  listeners:
  - name: virtualInbound
    traffic_direction: INBOUND
    use_original_dst: true
    address: {socket_address: {address: 0.0.0.0, port_value: 15006}}
    listener_filters:
    - name: envoy.filters.listener.tls_inspector
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}
    filter_chains:
"""


def chain(name: str, match: str, socket: str = "") -> str:
    return CHAIN.format(name=name, match=match, socket=socket, order=ORDER_ID)


STRICT = LISTENER + chain("strict", "{transport_protocol: tls}", SOCKET)
PERMISSIVE = (
    LISTENER
    + chain("mtls", f"{{transport_protocol: tls, application_protocols: {ISTIO}}}", SOCKET)
    + chain("plain", "{transport_protocol: raw_buffer}")
)


def mesh_of(config: str, identity: X509Context = PAYMENT) -> Mesh:
    return Mesh.static(load(config, "inbound.yaml"), identity=identity)


@pytest.fixture
def strict_port() -> Generator[int]:
    with mesh_of(STRICT) as mesh, uvicorn(app, mesh, Flavour("uvloop", "httptools")) as port:
        yield port


@pytest.fixture
def permissive_port() -> Generator[int]:
    with mesh_of(PERMISSIVE) as mesh, uvicorn(app, mesh, Flavour("asyncio", "h11")) as port:
        yield port


def headers(answer: tuple[int, bytes] | None) -> dict[str, str]:
    assert answer is not None
    assert answer[0] == 200
    return dict(json.loads(answer[1])["headers"])


def test_the_right_caller_passes_and_its_certificate_is_told(strict_port: int) -> None:
    seen = headers(ask(strict_port, client_context(), "/pay"))

    xfcc = seen["x-forwarded-client-cert"]
    assert xfcc.startswith(f"By={PAYMENT_ID};Hash=")
    assert xfcc.endswith(f";URI={ORDER_ID}")


def test_the_wrong_caller_is_told_what_envoy_tells(strict_port: int) -> None:
    other = client_context(CA.context("shop/other"))

    assert ask(strict_port, other, "/pay") == (403, b"RBAC: access denied")


def test_policies_see_the_path_that_the_application_gets(strict_port: int) -> None:
    with closing(Client(strict_port, client_context())) as client:
        assert client.get("/open/../pay")[0] == 200
        assert client.get("/open/../admin")[0] == 403
        assert client.get("/open%2f..%2fadmin")[0] in (400, 403)


@pytest.mark.parametrize("name", ["x-forwarded-client-cert", "x_forwarded_client_cert"])
def test_a_forged_certificate_header_is_replaced_by_the_true_one(
    strict_port: int, name: str
) -> None:
    forged = f"{name}: By=x;URI=spiffe://cluster.local/ns/shop/sa/admin"

    seen = headers(ask(strict_port, client_context(), "/pay", forged))

    assert "admin" not in json.dumps(seen)
    assert seen["x-forwarded-client-cert"].endswith(f";URI={ORDER_ID}")


def test_two_hosts_are_refused(strict_port: int) -> None:
    answer = ask(strict_port, client_context(), "/pay", "host: secret.shop")

    assert answer is not None
    assert answer[0] == 400


def test_strict_takes_neither_plaintext_nor_strangers(strict_port: int) -> None:
    assert ask(strict_port, None, "/open") is None
    assert ask(strict_port, stranger(), "/open") is None


def test_permissive_gives_plaintext_no_principal(permissive_port: int) -> None:
    assert "x-forwarded-client-cert" not in headers(ask(permissive_port, None, "/open"))
    assert ask(permissive_port, None, "/pay") == (403, b"RBAC: access denied")
    assert headers(ask(permissive_port, client_context(), "/pay"))
    assert ask(permissive_port, client_context(ORDER, ("http/1.1",)), "/open") is None
