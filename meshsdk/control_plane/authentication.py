"""Who calls, and whether it may be the node that it says it is (FEED.md 1.3)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, cast

from cryptography import x509

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.clock import Clock
from meshsdk.control_plane.tokens import TokenIssuer, workload_of
from meshsdk.errors import SpiffeIdError
from meshsdk.wire.grpc_server import ServerCall

_NODE_FIELDS: Final = (("NAMESPACE", 0), ("SERVICE_ACCOUNT", 1))


class Authenticator:
    """A client certificate, else a token; on a connection without TLS nobody is anybody."""

    def __init__(
        self, trust_domain: str, issuers: Callable[[], Iterable[TokenIssuer]], clock: Clock
    ) -> None:
        """`issuers` is asked for each call."""
        self._trust_domain = trust_domain
        self._issuers = issuers
        self._clock = clock

    def caller(self, call: ServerCall) -> SpiffeId | None:
        """The ID that a call has proved. A certificate beats a token that names another."""
        if not call.is_tls():
            return None
        certificate = call.peer_certificate()
        if certificate is not None:
            found = _uri_san(certificate, self._clock.time())
            if found is not None and found.trust_domain == self._trust_domain:
                return found
        authorization = call.metadata().get("authorization", "")
        workload = workload_of(authorization, self._issuers(), self._clock)
        if workload is None:
            return None
        try:
            return SpiffeId.of_workload(self._trust_domain, *workload)
        except SpiffeIdError:
            return None

    def authenticate(self, call: ServerCall) -> SpiffeId | None:
        """The caller of a stream: aborts it where the proof is missing. None: without TLS."""
        if not call.is_tls():
            return None
        caller = self.caller(call)
        if caller is None:
            call.abort("UNAUTHENTICATED", "authentication failure")
        return caller

    def admit(self, node: Mapping[str, object], call: ServerCall) -> SpiffeId | None:
        """As `authenticate`; aborts also where the proof names somebody else than the node's
        metadata does. What that leaves out is not compared."""
        caller = self.authenticate(call)
        if caller is None:
            return None
        mismatch = _mismatch(caller, node)
        if mismatch:
            call.abort("PERMISSION_DENIED", f"authorization failed: {mismatch}")
        return caller


def _mismatch(caller: SpiffeId, node: Mapping[str, object]) -> str:
    found = node.get("metadata")
    said: list[object] = [None, None]
    if isinstance(found, Mapping):
        metadata = cast("Mapping[str, object]", found)
        said = [metadata.get(key) for key, _ in _NODE_FIELDS]
    proved = (caller.namespace, caller.service_account)
    if all(said[index] in (None, "", proved[index]) for _, index in _NODE_FIELDS):
        return ""
    return f"no identities ([{caller}]) matched {said[0] or ''}/{said[1] or ''}"


def _uri_san(pem: bytes, now: float) -> SpiffeId | None:
    """Of a certificate that the handshake has verified: connections outlive certificates."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        if now > certificate.not_valid_after_utc.timestamp():
            return None
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        return SpiffeId.parse(uris[0]) if len(uris) == 1 else None
    except (ValueError, x509.ExtensionNotFound, SpiffeIdError):
        return None
