"""Whom we trust to sign identities."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshsdk.call.spiffe_id import is_trust_domain, shown
from meshsdk.errors import IdentityError
from meshsdk.identity.svid import read_certificates


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """Trust anchors (DER, sorted, no duplicates) and, where given, revocation lists (DER).

    With revocation lists every issuer of a chain needs a valid one, as in Envoy's `crl`.
    """

    roots: tuple[bytes, ...] = field(repr=False)
    crls: tuple[bytes, ...] = field(default=(), repr=False)
    digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "roots", tuple(sorted(set(self.roots))))
        object.__setattr__(self, "crls", tuple(sorted(set(self.crls))))
        parts = (b"roots", *self.roots, b"crls", *self.crls)
        hashed = hashlib.sha256()
        for part in parts:
            hashed.update(len(part).to_bytes(4))
            hashed.update(part)
        object.__setattr__(self, "digest", hashed.digest())

    @classmethod
    def from_pem(cls, roots: bytes, crls: bytes = b"") -> Self:
        """Raises `IdentityError`; no certificate at all is an error here, not an empty bundle."""
        try:
            certificates = x509.load_pem_x509_certificates(roots)
        except ValueError as error:
            raise IdentityError(f"trust bundle: expected PEM certificates: {error}") from error
        return cls(
            tuple(each.public_bytes(Encoding.DER) for each in certificates), _read_crls(crls)
        )

    @classmethod
    def from_der(cls, roots: bytes) -> Self:
        """From concatenated DER; empty bytes are an empty bundle: every root was revoked."""
        certificates = read_certificates(roots, "trust bundle")
        return cls(tuple(each.public_bytes(Encoding.DER) for each in certificates))

    def __hash__(self) -> int:
        return hash(self.digest)


_CRL_END = b"-----END X509 CRL-----"


def _read_crls(pem: bytes) -> tuple[bytes, ...]:
    lists: list[bytes] = []
    for block in pem.split(_CRL_END)[:-1]:
        try:
            crl = x509.load_pem_x509_crl(block + _CRL_END + b"\n")
        except ValueError as error:
            raise IdentityError(f"revocation list {len(lists)}: {error}") from error
        lists.append(crl.public_bytes(Encoding.DER))
    if pem.strip() and not lists:
        raise IdentityError("revocation lists: expected PEM blocks 'X509 CRL', found none")
    return tuple(lists)


@dataclass(frozen=True, slots=True)
class TrustBundles:
    """Bundles by trust domain, or one flat bundle, as Istio's ROOTCA is; never both.

    A flat bundle counts for our own trust domain and for each that the feed itself names (prefix
    SANs of inbound contexts, exact SANs of outbound ones), as in Istio. Where bundles are given by
    trust domain each root speaks for its own only.
    """

    by_trust_domain: tuple[tuple[str, TrustBundle], ...] = ()
    flat: TrustBundle | None = None
    digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_trust_domain", tuple(sorted(self.by_trust_domain, key=_name)))
        names = [name for name, _ in self.by_trust_domain]
        for name in names:
            if not is_trust_domain(name):
                raise IdentityError(f"trust bundle: expected a trust domain, found {shown(name)}")
        if len(set(names)) != len(names):
            raise IdentityError(f"trust bundles: a trust domain is given twice: {sorted(names)}")
        if self.flat is not None and names:
            raise IdentityError("trust bundles: expected bundles by trust domain or a flat one")
        hashed = hashlib.sha256(b"" if self.flat is None else b"flat" + self.flat.digest)
        for name, bundle in self.by_trust_domain:
            hashed.update(name.encode() + b"\0" + bundle.digest)
        object.__setattr__(self, "digest", hashed.digest())

    @classmethod
    def by_name(cls, bundles: Mapping[str, TrustBundle]) -> Self:
        """One bundle per trust domain."""
        return cls(tuple(bundles.items()))

    def for_trust_domains(self, named: Iterable[str]) -> dict[str, TrustBundle]:
        """Each trust domain that may speak here; `named` is ours and those of the feed."""
        if self.flat is not None:
            return dict.fromkeys(named, self.flat)
        return dict(self.by_trust_domain)

    def __hash__(self) -> int:
        return hash(self.digest)


def _name(entry: tuple[str, TrustBundle]) -> str:
    return entry[0]
