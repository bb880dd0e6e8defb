"""The calls to an Istio CA, on a channel each: certificates and roots may have changed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.clock import Clock, Random, SystemRandom
from meshsdk.config.bootstrap import Bootstrap, Server
from meshsdk.errors import ConfigError
from meshsdk.identity.sources.istio_ca import CaRefusal, IstioCaSource
from meshsdk.runtime.credentials import call_metadata, channel_tls
from meshsdk.wire.channel import open_channel
from meshsdk.wire.unary import call_unary
from meshsdk.xds.messages import StreamEnded

SERVICE: Final = "istio.v1.auth.IstioCertificateService"
METHOD: Final = "CreateCertificate"
_TIMEOUT: Final = 5.0
_TRUST_DOMAIN: Final = "cluster.local"


class IstioCaCaller:
    """Performs what an `IstioCaSource` asks."""

    def __init__(self, server: Server, timeout: float = _TIMEOUT) -> None:
        self._server = server
        self._timeout = timeout

    def create_certificate(self, csr: str, ttl: int, /) -> tuple[str, ...] | CaRefusal:
        """One call; a channel of its own."""
        credentials = self._server.credentials
        metadata = call_metadata(credentials)
        channel = open_channel(self._server.target, channel_tls(credentials))
        try:
            answer = call_unary(
                channel,
                SERVICE,
                METHOD,
                {"csr": csr, "validity_duration": str(ttl)},
                timeout=self._timeout,
                metadata=metadata,
            )
        finally:
            channel.close()
        if isinstance(answer, StreamEnded):
            return CaRefusal(answer.code, answer.details)
        chain = answer.get("cert_chain")
        if not isinstance(chain, list):
            raise ConfigError("cert_chain", "expected certificates, found none")
        return tuple(str(each) for each in cast("list[object]", chain))

    def mounted_roots(self) -> bytes:
        """The root file of the credentials."""
        path = self._server.credentials.root_file
        try:
            return Path(path).read_bytes() if path else b""
        except OSError:
            return b""  # the call that needs it says so


@dataclass(frozen=True, slots=True)
class IstioCa:
    """An identity that an Istio CA gives: to be handed to `Mesh.connect` as `identity`.

    `Mesh.connect` makes one itself of a bootstrap that has a CA. Each process asks for its own.
    """

    server: Server
    spiffe_id: SpiffeId
    """What the request says; the CA gives the ID that the caller has proved."""
    ttl: float = 24 * 3600.0
    """Seconds; the certificate is replaced at half of it."""
    random: Random = field(default_factory=SystemRandom, compare=False)

    def source(self, clock: Clock) -> IstioCaSource:
        """A new source, without an identity yet."""
        return IstioCaSource(
            IstioCaCaller(self.server), self.spiffe_id, clock, self.random, self.ttl
        )


def istio_ca_of(bootstrap: Bootstrap) -> IstioCa | None:
    """The CA of a bootstrap, or None where it names none."""
    if bootstrap.ca is None:
        return None
    metadata = bootstrap.node.metadata
    mesh, account = metadata.get("MESH_ID"), metadata.get("SERVICE_ACCOUNT")
    spiffe_id = SpiffeId.of_workload(
        mesh if isinstance(mesh, str) and mesh else _TRUST_DOMAIN,
        bootstrap.node.namespace or "default",
        account if isinstance(account, str) and account else "default",
    )
    return IstioCa(bootstrap.ca, spiffe_id)
