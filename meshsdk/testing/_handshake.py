"""TLS handshakes in memory: no socket, no loop, every byte delivered at once."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from meshsdk.clock import SystemClock
from meshsdk.identity.tls_contexts import TlsContexts
from meshsdk.identity.tls_objects import MeshSSLObject
from meshsdk.identity.x509_context import NO_IDENTITY, X509Context

_FLIGHTS = 4  # more than TLS 1.2 and a hello retry need


@dataclass(frozen=True, slots=True)
class Handshake:
    """Both ends, after all that each wanted to send has arrived. An error None: it is open."""

    client: ssl.SSLObject
    server: ssl.SSLObject
    client_error: ssl.SSLError | None
    server_error: ssl.SSLError | None

    @property
    def succeeded(self) -> bool:
        """Whether both ends are open."""
        return self.client_error is None and self.server_error is None

    @property
    def mesh_client(self) -> MeshSSLObject:
        """The client end, where it is ours."""
        assert isinstance(self.client, MeshSSLObject)
        return self.client

    @property
    def mesh_server(self) -> MeshSSLObject:
        """The server end, where it is ours."""
        assert isinstance(self.server, MeshSSLObject)
        return self.server


def shake(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    *,
    sni: str = "reviews.default",
    session: ssl.SSLSession | None = None,
    between: Callable[[], object] = lambda: None,
) -> Handshake:
    """One handshake; `between` is called after each flight."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=sni, session=session),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    errors: list[ssl.SSLError | None] = [None, None]
    for _ in range(_FLIGHTS):
        for at, end in enumerate(ends):
            if errors[at] is None:
                errors[at] = _step(end)
        between()
    return Handshake(*ends, *errors)


def _step(end: ssl.SSLObject) -> ssl.SSLError | None:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return None
    except ssl.SSLError as error:
        return error
    return None


def contexts_of(identity: X509Context) -> TlsContexts:
    """Contexts that present and trust what this identity says."""
    contexts = TlsContexts(SystemClock())
    contexts.adopt(NO_IDENTITY.received(identity))
    return contexts
