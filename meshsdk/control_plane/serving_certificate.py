"""The control plane's own certificate, made anew when the roots change."""

import ipaddress
import threading
from collections.abc import Callable

from meshsdk.control_plane.ca import Signing
from meshsdk.wire.grpc_server import ServerTls


class ServingCertificate:
    """Asked by gRPC for each connection, on any thread."""

    def __init__(self, signing: Callable[[], Signing], host: str, *, mutual: bool) -> None:
        """`host` is in the certificate where it is an IP address."""
        self._signing = signing
        self._addresses = (host,) if _is_address(host) else ()
        self._mutual = mutual
        self._made: tuple[bytes, ServerTls] | None = None
        self._lock = threading.Lock()

    def __call__(self) -> ServerTls:
        with self._lock:
            signing = self._signing()
            roots = signing.roots_pem
            if self._made is None or self._made[0] != roots:
                self._made = roots, signing.server_tls(self._addresses, mutual=self._mutual)
            return self._made[1]


def _is_address(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
