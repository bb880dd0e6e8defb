"""SPIFFE IDs, exactly as the standard spells them."""

import re
from dataclasses import dataclass, field
from typing import Final, Self

from meshsdk.errors import SpiffeIdError

# SPIFFE-ID 2.1 to 2.4, on octets: nothing is decoded, folded, normalised or trimmed first.
# RE: fullmatch, since `$` also matches before a final newline. Without IGNORECASE, U+212A stays out.
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")  # 255: RFC 3986 host, SPIFFE-ID 2.3
_PATH: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)*")
_SCHEME: Final = "spiffe://"
_SHOWN: Final = 120


def is_trust_domain(name: str) -> bool:
    """Whether this is a trust domain's name, without the scheme."""
    return _TRUST_DOMAIN.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A valid SPIFFE ID; making one from anything else raises `SpiffeIdError`.

    `path` is empty or starts with `/`. Source: SPIFFE-ID standard, section 2.
    """

    uri: str
    trust_domain: str = field(init=False, repr=False, compare=False)
    path: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        uri = self.uri
        if not uri.startswith(_SCHEME):
            raise SpiffeIdError(f"expected a SPIFFE ID (spiffe://...), found {shown(uri)}")
        trust_domain, slash, rest = uri[len(_SCHEME) :].partition("/")
        path = slash + rest
        if not is_trust_domain(trust_domain):
            raise SpiffeIdError(
                f"expected a trust domain of 1 to 255 of a-z 0-9 . _ -, found {shown(trust_domain)}"
                f" in {shown(uri)}"
            )
        if _PATH.fullmatch(path) is None:
            raise SpiffeIdError(
                "expected path segments of A-Z a-z 0-9 . _ -, none empty, '.' or '..',"
                f" found {shown(path)} in {shown(uri)}"
            )
        object.__setattr__(self, "trust_domain", trust_domain)
        object.__setattr__(self, "path", path)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The ID that this text is. Raises `SpiffeIdError`; the caller knows whose fault it was."""
        return cls(text)

    @classmethod
    def of_workload(cls, trust_domain: str, namespace: str, service_account: str) -> Self:
        """Istio's form: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`."""
        return cls(f"{_SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}")

    @property
    def namespace(self) -> str | None:
        """The Kubernetes namespace of an ID in Istio's form, else None."""
        workload = self._workload()
        return workload[0] if workload else None

    @property
    def service_account(self) -> str | None:
        """The service account of an ID in Istio's form, else None."""
        workload = self._workload()
        return workload[1] if workload else None

    def _workload(self) -> tuple[str, str] | None:
        match self.path.split("/"):
            case ["", "ns", namespace, "sa", service_account]:
                return namespace, service_account
            case _:
                return None

    def __str__(self) -> str:
        return self.uri


def shown(text: str) -> str:
    """Untrusted text for an error message: escaped, and cut where it is long."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}... ({len(text)} characters)"
