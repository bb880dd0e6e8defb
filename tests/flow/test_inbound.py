"""Inbound requests, driven by hand: who may pass, before and after a push."""

from dataclasses import replace

import pytest

from meshsdk.call.address import Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.effects import CallApp, Deliver, Flow
from meshsdk.call.message import Request, Response
from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.flow import select
from meshsdk.flow.inbound import inbound
from meshsdk.flow.outbound import Source
from tests.flow.plans import Mesh, delivered, finish

ALICE = "spiffe://cluster.local/ns/a/sa/alice"
BOB = "spiffe://cluster.local/ns/b/sa/bob"


INSPECTED = """
    listener_filters:
    - name: tls
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}
"""


def listener(chains: str, inspectors: str = INSPECTED) -> str:
    return f"""
static_resources:
  listeners:
  - name: virtualInbound
    traffic_direction: INBOUND
    use_original_dst: true
{inspectors}
    address: {{socket_address: {{address: 0.0.0.0, port_value: 15006}}}}
    filter_chains:
{chains}
  clusters: []
"""


def chain(match: str, *, allowed: str = ALICE, tls: bool = False) -> str:
    socket = (
        """
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificate_sds_secret_configs: [{name: default}]
            validation_context_sds_secret_config: {name: ROOTCA}"""
        if tls
        else ""
    )
    return f"""
    - filter_chain_match: {match}{socket}
      filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          route_config:
            name: inbound
            virtual_hosts:
            - {{name: v, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: app}}}}]}}
          http_filters:
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                policies:
                  p: {{permissions: [{{any: true}}], principals: [{{authenticated: {{principal_name: {{exact: "{allowed}"}}}}}}]}}
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"""


STRICT = listener(chain("{destination_port: 8080, transport_protocol: tls}", tls=True))
PLAIN = listener(chain("{destination_port: 8080, transport_protocol: raw_buffer}"))
REQUEST = Request("GET", "orders:8080", "/orders")


def connection(uri: str | None, port: int = 8080) -> Connection:
    local = Address("10.0.0.5", port)
    if uri is None:
        return Connection(local, Peer(connection=Address("10.0.0.9", 4)))
    certificate = Certificate((uri,), (), "", "0" * 64, b"")
    peer = Peer(SpiffeId.parse(uri), certificate, Address("10.0.0.9", 4), Address("10.0.0.9", 4))
    return Connection(local, peer, "tls", "", ("istio-http/1.1",), "TLSv1.3")


def request(mesh: Mesh, peer: Connection) -> Flow[None]:
    return inbound(mesh.source, REQUEST, peer)


def test_an_allowed_peer_reaches_the_application() -> None:
    flow = request(Mesh(STRICT), connection(ALICE))

    effect = next(flow)
    assert isinstance(effect, CallApp)
    response = delivered(flow.send(Response(204)))
    finish(flow)

    assert effect.request.path == "/orders"
    assert response.status == 204


def test_another_peer_is_told_no_more_than_envoy_tells() -> None:
    response = delivered(next(request(Mesh(STRICT), connection(BOB))))

    assert (response.status, response.body) == (403, b"RBAC: access denied")
    assert "server" not in response.headers or "meshsdk" not in str(response.headers.get("server"))


def test_plaintext_at_a_strict_port_is_closed() -> None:
    response = delivered(next(request(Mesh(STRICT), connection(None))))

    assert response.status == 503
    assert response.headers.get("connection") == "close"


def test_plaintext_has_no_principal_where_it_is_permitted() -> None:
    response = delivered(next(request(Mesh(PLAIN), connection(None))))

    assert response.status == 403


def test_tls_never_ends_in_a_plaintext_chain() -> None:
    mesh = Mesh(listener(chain("{destination_port: 8080}")))

    response = delivered(next(request(mesh, connection(ALICE))))

    assert response.status == 503


def test_a_tls_chain_without_a_match_does_not_take_plaintext() -> None:
    mesh = Mesh(listener(chain("{destination_port: 8080}", tls=True)))

    response = delivered(next(request(mesh, connection(None))))

    assert response.status == 403


@pytest.mark.parametrize(
    ("required", "peer"),
    [
        # Whatever a certificate would have been asked for, there was no handshake at all.
        (False, connection(None)),
        (True, connection(None)),
        # A handshake that let a client pass without the certificate that the chain requires.
        (True, replace(connection(None), transport_protocol="tls")),
    ],
)
def test_without_its_handshake_a_tls_chain_answers_before_any_policy(
    required: bool, peer: Connection
) -> None:
    config = listener(chain("{destination_port: 8080}", tls=True))
    everybody = config.replace(
        f'principals: [{{authenticated: {{principal_name: {{exact: "{ALICE}"}}}}}}]',
        "principals: [{any: true}]",
    ).replace("require_client_certificate: true", f"require_client_certificate: {required}")
    assert everybody.count("any: true") == 2

    response = delivered(next(request(Mesh(everybody), peer)))

    assert (response.status, response.body) == (403, b"")
    assert response.headers.get("connection") == "close"


def test_nothing_passes_before_the_first_configuration() -> None:
    mesh = Mesh(STRICT)
    flow = inbound(Source(lambda: None, mesh.live), REQUEST, connection(ALICE))

    response = delivered(next(flow))

    assert response.status == 503


def test_a_port_that_no_chain_knows_is_closed() -> None:
    response = delivered(next(request(Mesh(STRICT), connection(ALICE, port=9999))))

    assert response.status == 503


def test_a_policy_change_holds_for_the_next_request_of_an_old_connection() -> None:
    mesh = Mesh(STRICT)
    bob = connection(BOB)
    assert delivered(next(request(mesh, bob))).status == 403

    mesh.push(STRICT.replace(ALICE, BOB))

    assert isinstance(next(request(mesh, bob)), CallApp)


def test_forged_certificate_headers_never_reach_the_application() -> None:
    mesh = Mesh(
        PLAIN.replace(
            f'principals: [{{authenticated: {{principal_name: {{exact: "{ALICE}"}}}}}}]',
            "principals: [{any: true}]",
        )
    )
    forged = REQUEST.with_headers(REQUEST.headers.add("x-forwarded-client-cert", f"URI={ALICE}"))

    effect = next(inbound(mesh.source, forged, connection(None)))

    assert isinstance(effect, CallApp)
    assert "x-forwarded-client-cert" not in effect.request.headers


@pytest.mark.parametrize("status", [200, 500])
def test_the_applications_answer_passes_as_it_is(status: int) -> None:
    flow = request(Mesh(STRICT), connection(ALICE))
    next(flow)

    effect = flow.send(Response(status))

    assert isinstance(effect, Deliver)
    assert delivered(effect).status == status


def test_without_a_tls_inspector_every_connection_is_raw_buffer() -> None:
    # FEED.md 3.8: PeerAuthentication DISABLE sends no inspector, and TLS bytes land here.
    mesh = Mesh(PLAIN.replace(INSPECTED, ""))
    assert mesh.plan is not None

    found = select.inbound(mesh.plan, connection(ALICE))

    assert found is not None
    assert found.chain is not None
    assert delivered(next(request(mesh, connection(ALICE)))).status == 503


def test_a_filter_whose_config_never_came_answers_500() -> None:
    waiting = """- name: wasm
            config_discovery:
              config_source: {ads: {}}
              type_urls: [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm]
          - name: router"""
    mesh = Mesh(STRICT.replace("- name: router", waiting, 1))

    assert delivered(next(request(mesh, connection(ALICE)))).status == 500


@pytest.mark.parametrize(("peer", "passes"), [(ALICE, True), (BOB, False)])
def test_a_network_filter_decides_before_any_request_is_read(peer: str, passes: bool) -> None:
    network = f"""      filters:
      - name: envoy.filters.network.rbac
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC
          stat_prefix: x
          rules:
            policies:
              p: {{permissions: [{{any: true}}], principals: [{{authenticated: {{principal_name: {{exact: "{ALICE}"}}}}}}]}}
      - name: hcm"""
    everybody = STRICT.replace(
        f'principals: [{{authenticated: {{principal_name: {{exact: "{ALICE}"}}}}}}]',
        "principals: [{any: true}]",
    ).replace("      filters:\n      - name: hcm", network)

    effect = next(request(Mesh(everybody), connection(peer)))

    if passes:
        assert isinstance(effect, CallApp)
    else:
        refused = delivered(effect)
        assert refused.body == b""
        assert refused.headers.get("connection") == "close"


def test_a_request_is_served_until_its_answer_is_out() -> None:
    flow = request(Mesh(STRICT), connection(ALICE))
    effect = next(flow)
    assert isinstance(effect, CallApp)
    serving = effect.serving
    assert serving is not None

    flow.send(Response(200))
    before = serving.is_over
    finish(flow)

    assert (before, serving.is_over) == (False, True)
