"""Who we are and whom we trust, in one value; and how fresh that knowledge is."""

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.errors import IdentityError
from meshsdk.identity.svid import Svid
from meshsdk.identity.trust_bundle import TrustBundles


@dataclass(frozen=True, slots=True)
class X509Context:
    """Our SVIDs and the trust bundles: one version, replaced whole.

    Equal material is an equal value whatever order a source sent it in (SPIRE's is random), so
    `==` tells a rotation from a repetition.
    """

    svids: tuple[Svid, ...]
    bundles: TrustBundles
    digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "svids", tuple(sorted(self.svids, key=_order)))
        hashed = hashlib.sha256(self.bundles.digest)
        for svid in self.svids:
            hashed.update(svid.hint.encode() + b"\0" + svid.certificate.digest)
        object.__setattr__(self, "digest", hashed.digest())

    def svid(self, *, hint: str = "", spiffe_id: SpiffeId | None = None) -> Svid:
        """The one SVID of this hint or ID, or the only one. Several or none: `IdentityError`."""
        wanted = f"hint {hint!r}" if hint else str(spiffe_id or "")
        found = [
            svid
            for svid in self.svids
            if (not hint or svid.hint == hint)
            and (spiffe_id is None or svid.spiffe_id == spiffe_id)
        ]
        if len(found) == 1:
            return found[0]
        have = ", ".join(_describe(svid) for svid in self.svids) or "none"
        if found:
            raise IdentityError(
                f"expected one SVID{f' of {wanted}' if wanted else ''}, found {len(found)}:"
                f" {have}; choose by hint or SPIFFE ID"
            )
        raise IdentityError(f"expected an SVID{f' of {wanted}' if wanted else ''}, found {have}")

    @property
    def trust_domains(self) -> frozenset[str]:
        """Our own: those of our SVIDs."""
        return frozenset(svid.spiffe_id.trust_domain for svid in self.svids)

    def __hash__(self) -> int:
        return hash(self.digest)


def _order(svid: Svid) -> tuple[str, str, bytes]:
    return svid.spiffe_id.uri, svid.hint, svid.certificate.digest


def _describe(svid: Svid) -> str:
    return f"{svid.spiffe_id} (hint {svid.hint!r})" if svid.hint else str(svid.spiffe_id)


class SourceState(StrEnum):
    """How a source stands; nobody but our clock says EXPIRED."""

    FRESH = "fresh"
    UNREACHABLE = "unreachable"
    """The source does not answer: what it said last holds until it expires."""
    WITHDRAWN = "withdrawn"
    """The operator took the entry away: still a valid certificate until it expires, not healthy."""
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class IdentityStatus:
    """The last good material of a source and the source's state, which are independent."""

    context: X509Context | None = None
    state: SourceState = SourceState.UNREACHABLE
    detail: str = "no identity has arrived"

    @property
    def expires(self) -> float | None:
        """When the timer must look again: the end of the SVID that ends first; epoch seconds."""
        if self.context is None or not self.context.svids:
            return None
        return min(svid.not_after for svid in self.context.svids)

    def at(self, now: float) -> "IdentityStatus":
        """The same with EXPIRED where every SVID has ended by now (epoch seconds)."""
        if self.context is None or not self.context.svids:
            return self
        last = max(svid.not_after for svid in self.context.svids)
        if now < last:
            return self
        return replace(
            self,
            state=SourceState.EXPIRED,
            detail=f"the last SVID ended {now - last:.0f} s ago ({self.state}: {self.detail})",
        )

    def received(self, context: X509Context) -> "IdentityStatus":
        """After the source sent material; the same context object where nothing changed."""
        same = self.context is not None and self.context == context
        return IdentityStatus(self.context if same else context, SourceState.FRESH, "")

    def failed(self, state: SourceState, detail: str) -> "IdentityStatus":
        """After the source failed: material stays."""
        return replace(self, state=state, detail=detail)

    def usable(self) -> X509Context:
        """The material, in any state; `IdentityError` where none ever arrived."""
        if self.context is None:
            raise IdentityError(f"no identity yet ({self.state}): {self.detail}")
        return self.context


NO_IDENTITY: Final = IdentityStatus()
