"""Both ends of a mesh connection, without a feed."""

import ssl
from dataclasses import replace

from meshsdk.identity.tls_params import SpiffeTrust, TlsParams, Validation
from meshsdk.identity.x509_context import X509Context
from meshsdk.resources.tls import UpstreamTls
from meshsdk.testing._handshake import contexts_of
from meshsdk.testing.ca import FakeCa
from meshsdk.upstream.tls import ClientContext

CLIENT = TlsParams(validation=Validation(SpiffeTrust()), alpn=("http/1.1",))
SERVER = replace(CLIENT, require_client_certificate=True)
SOCKET = UpstreamTls(sni="outbound_.80_._.backend.shop.svc.cluster.local", digest=b"mtls")


class MeshTls:
    """Implements `ClientContexts` with one identity and one set of settings."""

    def __init__(self, identity: X509Context, params: TlsParams = CLIENT) -> None:
        self.contexts = contexts_of(identity)
        self.params = params
        self.generation = 0
        self.asked: list[tuple[str, str]] = []

    def context(self, socket: UpstreamTls, protocol: str, sni: str) -> ClientContext:
        self.asked.append((protocol, sni))
        return ClientContext(self.contexts.client(self.params), sni or None)


def server_context(ca: FakeCa, workload: str = "shop/server") -> ssl.SSLContext:
    """For a server that asks for a client certificate of the same CA."""
    return contexts_of(ca.context(workload)).server(SERVER)
