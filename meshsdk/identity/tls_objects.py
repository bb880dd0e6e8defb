"""TLS objects and sockets that are not open before their peer was verified by our rules.

One mechanism for asyncio, uvloop, trio, threads and servers: the check sits inside
`do_handshake`, so a stack that knows nothing of it fails closed before an application byte moves.
"""

import ssl
import sys
from collections.abc import Sequence
from typing import ClassVar, Final, NoReturn, Protocol, cast

from meshsdk.call.certificate import Certificate
from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.identity.refusal import Fault, PeerRefusedError, Refusal
from meshsdk.identity.verify import Chain, PeerTrust, VerifiedPeer, Verifier

_ENCODING_DER: Final = 2  # _ssl.ENCODING_DER


class _LowCertificate(Protocol):
    def public_bytes(self, encoding: int, /) -> bytes: ...


class _LowSslObject(Protocol):
    """`_ssl._SSLSocket`, which has had the chains since 3.10."""

    def get_verified_chain(self) -> Sequence[_LowCertificate] | None: ...
    def get_unverified_chain(self) -> Sequence[_LowCertificate] | None: ...


def _low_chain(tls: ssl.SSLObject | ssl.SSLSocket, *, verified: bool) -> Chain | None:
    low = cast("_LowSslObject | None", getattr(tls, "_sslobj", None))
    if low is None:
        return None
    chain = low.get_verified_chain() if verified else low.get_unverified_chain()
    # Never log or repr() these objects: one with an empty subject raises.
    return tuple(each.public_bytes(_ENCODING_DER) for each in chain or ()) or None


def _chain(tls: ssl.SSLObject | ssl.SSLSocket, *, verified: bool) -> Chain | None:
    """DER, leaf first; None on a resumed session and where the peer presented nothing."""
    if sys.version_info >= (3, 13):
        return tuple(tls.get_verified_chain() if verified else tls.get_unverified_chain()) or None
    return _low_chain(tls, verified=verified)


class Connected:
    """What both kinds know after a verified handshake; before it, nothing."""

    verifier: ClassVar[Verifier | None] = None
    """None: a server that asks for no client certificate."""
    peer_required: ClassVar[bool] = True
    own_expiry: ClassVar[float] = float("inf")
    """When the certificate that we presented ends; epoch seconds."""
    own_digest: ClassVar[bytes] = b""
    """Of the certificate that we presented; equal digests are one identity."""
    own_certificate: ClassVar[Certificate | None] = None
    """The certificate that we presented."""

    peer: VerifiedPeer | None = None
    handshake_verified: bool = False

    @property
    def peer_certificate(self) -> Certificate | None:
        """The peer's verified leaf, or None where it presented none and need not."""
        return self.peer.certificate if self.peer else None

    @property
    def peer_id(self) -> SpiffeId | None:
        """The peer's verified SPIFFE ID."""
        return self.peer.spiffe_id if self.peer else None

    @property
    def peer_trust(self) -> PeerTrust | None:
        """Which anchor the peer's identity hangs on, where that is ours."""
        return self.peer.trust if self.peer else None

    @property
    def expires(self) -> float:
        """When either certificate ends, and with it this connection (THREATS T9); epoch seconds."""
        return min(
            self.own_expiry, self.peer.certificate.not_after if self.peer else self.own_expiry
        )


def _verify(tls: ssl.SSLObject | ssl.SSLSocket, connected: Connected) -> None:
    if connected.handshake_verified:
        return
    verifier = connected.verifier
    if verifier is not None:
        chain = _chain(tls, verified=True)
        if chain is not None or connected.peer_required or tls.getpeercert(True):
            connected.peer = verifier.check(chain)
    connected.handshake_verified = True


def _raise_explained(
    error: ssl.SSLError, tls: ssl.SSLObject | ssl.SSLSocket, verifier: Verifier | None
) -> NoReturn:
    """Raise our refusal in place of OpenSSL's, or `error` where the peer is not the reason."""
    if verifier is None or isinstance(error, PeerRefusedError):
        raise error
    if isinstance(error, ssl.SSLCertVerificationError):
        raise verifier.explain(error, _chain(tls, verified=False)) from error
    if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        raise PeerRefusedError(
            Fault(
                Refusal.NO_CERTIFICATE,
                "the peer presented no certificate",
                expected=f"a certificate of {verifier.validation.allowed.describe()}",
                found="none",
            )
        ) from error
    raise error


class MeshSSLObject(Connected, ssl.SSLObject):
    """For event loops. Made by a context of `TlsContexts`, never directly."""

    def do_handshake(self) -> None:
        """Raises `PeerRefusedError`, also when called again after a refusal."""
        try:
            super().do_handshake()
            _verify(self, self)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            _raise_explained(error, self, self.verifier)

    # OpenSSL ends a pending handshake inside SSL_read and SSL_write: a caller that skips
    # do_handshake(), as gunicorn does, would walk past the check.
    def read(self, len: int = 1024, buffer: object = None) -> bytes:  # noqa: A002 -- ssl's name
        """As `ssl.SSLObject.read`, after a verified handshake."""
        if not self.handshake_verified:
            self.do_handshake()
        return super().read(len, buffer)  # type: ignore[arg-type]  # any writable buffer

    def write(self, data: object) -> int:
        """As `ssl.SSLObject.write`, after a verified handshake."""
        if not self.handshake_verified:
            self.do_handshake()
        return super().write(data)  # type: ignore[arg-type]  # any readable buffer


class MeshSSLSocket(Connected, ssl.SSLSocket):
    """For blocking code. Made by a context of `TlsContexts`, never directly."""

    def do_handshake(self, block: bool = False) -> None:
        """Raises `PeerRefusedError`, also when called again after a refusal."""
        try:
            super().do_handshake(block)
            _verify(self, self)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            _raise_explained(error, self, self.verifier)

    def _insist(self) -> None:
        if getattr(self, "_sslobj", None) is not None:  # None: not connected, or unwrapped
            self.do_handshake()

    # recv and recv_into call read, sendall and sendfile call send.
    def read(self, len: int = 1024, buffer: object = None) -> bytes:  # noqa: A002 -- ssl's name
        """As `ssl.SSLSocket.read`, after a verified handshake."""
        if not self.handshake_verified:
            self._insist()
        return super().read(len, buffer)  # type: ignore[arg-type]  # any writable buffer

    def write(self, data: object) -> int:
        """As `ssl.SSLSocket.write`, after a verified handshake."""
        if not self.handshake_verified:
            self._insist()
        return super().write(data)  # type: ignore[arg-type]  # any readable buffer

    def send(self, data: object, flags: int = 0) -> int:
        """As `ssl.SSLSocket.send`, after a verified handshake."""
        if not self.handshake_verified:
            self._insist()
        return super().send(data, flags)  # type: ignore[arg-type]  # any readable buffer
