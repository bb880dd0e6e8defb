"""The TLS handshake of a simulated attempt: what the endpoint presents against what the cluster
wants. The texts are Envoy's (%UPSTREAM_TRANSPORT_FAILURE_REASON%)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from meshsdk.call.effects import Attempt
from meshsdk.call.message import Reset, ResetReason
from meshsdk.cli.check.client import certificate
from meshsdk.flow.cluster_plan import ClusterPlan
from meshsdk.resources.tls import UpstreamTls

Identities = Mapping[str, Mapping[str, object]]
"""What an endpoint, `127.0.0.1:21031`, presents over TLS; others speak no TLS."""
_BEFORE = (
    "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:"
    "verify cert failed: "
)
_AFTER = ":TLS_error_end"
_AT_DEPTH = "X509_verify_cert: certificate verification error at depth 0: "


@dataclass(frozen=True, slots=True)
class Failed:
    """The handshake fails after some seconds."""

    reset: Reset
    seconds: float = 0.0


def handshake(attempt: Attempt, identities: Identities) -> Failed | None:
    """How the handshake fails; None when it does not, or when there is none."""
    socket = attempt.host.socket
    if not isinstance(socket, UpstreamTls) or not identities:
        return None
    assert isinstance(attempt.cluster, ClusterPlan)
    identity = identities.get(str(attempt.host.endpoint.address))
    if identity is None:
        # A server that speaks plaintext waits for the request, and we for its hello.
        timeout = Reset(ResetReason.CONNECT_TIMEOUT, request_sent=False, attempt=attempt)
        return Failed(timeout, attempt.cluster.cluster.connect_timeout)
    why = _refusal(socket, identity)
    if why is None:
        return None
    detail = f"{_BEFORE}{why}{_AFTER}"
    return Failed(Reset(ResetReason.TLS_FAILURE, detail, request_sent=False, attempt=attempt))


def _refusal(socket: UpstreamTls, identity: Mapping[str, object]) -> str | None:
    validation = socket.validation
    if validation is None:
        return None
    if identity.get("ca"):
        return f"{_AT_DEPTH}unable to get local issuer certificate"
    if identity.get("expired"):
        return f"{_AT_DEPTH}certificate has expired"
    presented = certificate(identity)
    sans = validation.san_matchers
    if sans and not any(san(presented) for san in sans):
        names = ", ".join((*cast("Sequence[str]", presented.uri_sans), *presented.dns_sans))
        return f"SAN matcher, certificate SANs are [{names}]"
    return None
