"""What RBAC asks of a peer's certificate, and the keys by which policies are found."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from meshsdk.call.certificate import Certificate
from meshsdk.call.message import Request
from meshsdk.filters.rbac_nodes import NO_KEYS, Facts, Keys, Leaf, Seen
from meshsdk.matching.regex_globs import Glob
from meshsdk.matching.strings import Contains, Exact, Prefix, SafeRegex, StringMatcher, Suffix

_NS: Final = "/ns/"


def authenticated(name: StringMatcher | None, *, strict: bool) -> Leaf:
    """A TLS peer with a matching name: any URI SAN, any DNS SAN, or the subject.

    Observed on Envoy 1.40, where TLS without a client certificate is a peer whose only name is
    empty. `strict` takes only what a certificate vouches for (the threat model's D4 and B13): without
    a certificate nothing matches, and beside a URI SAN no other name counts.
    """
    matches = _any_name if name is None else name.test()

    def of_certificate(_: Request, facts: Facts) -> bool:
        certificate = facts.connection.peer.certificate
        if certificate is None:
            return False
        for san in certificate.uri_sans:
            if matches(san):
                return True
        return not certificate.uri_sans and _any_other(certificate, matches)

    def of_connection(_: Request, facts: Facts) -> bool:
        certificate = facts.connection.peer.certificate
        if certificate is None:
            return facts.connection.transport_protocol == "tls" and matches("")
        return any(map(matches, certificate.uri_sans)) or _any_other(certificate, matches)

    text = "authenticated" if name is None else f"principal {name.describe()}"
    expected = "any" if name is None else name.describe()
    return Leaf(
        text,
        of_certificate if strict else of_connection,
        NO_KEYS if name is None else peer_keys(name),
        Seen("principal", expected, _principals),
    )


def _principals(_: Request, facts: Facts) -> Sequence[str]:
    certificate = facts.connection.peer.certificate
    if certificate is None:
        return ()
    names = (*certificate.uri_sans, *certificate.dns_sans, certificate.subject)
    return certificate.uri_sans or tuple(name for name in names if name)


def _any_name(_: str) -> bool:
    return True


def _any_other(certificate: Certificate, matches: Callable[[str], bool]) -> bool:
    return any(map(matches, certificate.dns_sans)) or matches(certificate.subject)


def subject_alt_name(kind: str, name: StringMatcher) -> Leaf:
    """A verified certificate with a matching SAN of one kind."""
    read = _SANS[kind]
    matches = name.test()

    def test(_: Request, facts: Facts) -> bool:
        certificate = facts.connection.peer.certificate
        return certificate is not None and any(matches(san) for san in read(certificate))

    def seen(_: Request, facts: Facts) -> Sequence[str]:
        certificate = facts.connection.peer.certificate
        return () if certificate is None else read(certificate)

    expected = name.describe()
    return Leaf(f"SAN {kind} {expected}", test, seen=Seen("principal", expected, seen, kind))


def _uris(certificate: Certificate) -> Sequence[str]:
    return certificate.uri_sans


def _dns(certificate: Certificate) -> Sequence[str]:
    return certificate.dns_sans


def _emails(certificate: Certificate) -> Sequence[str]:
    return certificate.email_sans


def _addresses(certificate: Certificate) -> Sequence[str]:
    return certificate.ip_sans


_SANS: Final = {"URI": _uris, "DNS": _dns, "EMAIL": _emails, "IP_ADDRESS": _addresses}


def peer_keys(name: StringMatcher) -> Keys:
    """A whole name, or a namespace that must be inside of it."""
    match name:
        case Exact(text):
            return {"peer": frozenset((text,))}
        case Prefix(text) | Suffix(text) | Contains(text):
            part = _namespace_part(text)
            return {"peer": frozenset((part,))} if part else NO_KEYS
        case SafeRegex(regex) if regex.globs is not None:
            keys = [_glob_key(glob) for glob in regex.globs]
            found = frozenset(key for key in keys if key is not None)
            return NO_KEYS if None in keys else {"peer": found}
        case _:
            return NO_KEYS


def _glob_key(glob: Glob) -> str | None:
    literals = [piece for piece in glob if isinstance(piece, str)]
    if len(literals) == len(glob):
        return "".join(literals)
    return next((part for text in literals if (part := _namespace_part(text))), None)


def _namespace_part(text: str) -> str | None:
    """The `/ns/<namespace>/` inside a text."""
    begin = text.find(_NS)
    end = text.find("/", begin + len(_NS))
    return text[begin : end + 1] if begin >= 0 and end >= 0 else None


def peer_values(certificate: Certificate) -> tuple[str, ...]:
    """The keys that a certificate has."""
    names: tuple[str, ...] = certificate.uri_sans
    if certificate.dns_sans or certificate.subject:
        names = (*names, *certificate.dns_sans, certificate.subject)
    return _keys_of(names)


@lru_cache(maxsize=1024)
def _keys_of(names: tuple[str, ...]) -> tuple[str, ...]:
    values: list[str] = []
    for name in names:
        values.append(name)
        begin = name.find(_NS)
        while begin >= 0:
            end = name.find("/", begin + len(_NS))
            if end < 0:
                break
            values.append(name[begin : end + 1])
            # The slash that ends one may begin the next.
            begin = name.find(_NS, end)
    return tuple(values)
