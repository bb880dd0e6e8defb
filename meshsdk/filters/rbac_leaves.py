"""The single questions of RBAC: what each kind of permission and principal looks at."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from meshsdk.call.certificate import Certificate
from meshsdk.call.message import Request
from meshsdk.filters.rbac_nodes import NO_KEYS, Facts, Keys, Leaf, Test
from meshsdk.matching.cidr import CidrRange, parse_ip
from meshsdk.matching.headers import HeaderMatcher
from meshsdk.matching.metadata import Metadata, MetadataMatcher
from meshsdk.matching.path import without_parameters, without_query
from meshsdk.matching.regex_globs import Glob
from meshsdk.matching.strings import Contains, Exact, Prefix, SafeRegex, StringMatcher, Suffix
from meshsdk.matching.uri_template import UriTemplate

_NS: Final = "/ns/"
_NOTHING: Final[Metadata] = {}


# -- the peer -----------------------------------------------------------------------------------


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
    if strict:
        return Leaf(text, of_certificate, NO_KEYS if name is None else peer_keys(name))
    return Leaf(text, of_connection, NO_KEYS if name is None else peer_keys(name))


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

    return Leaf(f"SAN {kind} {name.describe()}", test)


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


# -- addresses and ports ------------------------------------------------------------------------


def source_ip(cidr: CidrRange) -> Leaf:
    """The peer that the connection speaks for."""

    def test(_: Request, facts: Facts) -> bool:
        return cidr.contains(facts.connection.peer.connection.host)

    return Leaf(f"source ip {cidr}", test)


def direct_remote_ip(cidr: CidrRange) -> Leaf:
    """The physical peer."""

    def test(_: Request, facts: Facts) -> bool:
        return cidr.contains(facts.connection.peer.physical.host)

    return Leaf(f"direct remote ip {cidr}", test)


def remote_ip(cidr: CidrRange) -> Leaf:
    """The client after X-Forwarded-For was judged."""

    def test(_: Request, facts: Facts) -> bool:
        return cidr.contains(facts.remote.host)

    return Leaf(f"remote ip {cidr}", test)


def destination_ip(cidr: CidrRange) -> Leaf:
    """Our side of the connection."""

    def test(_: Request, facts: Facts) -> bool:
        return cidr.contains(facts.connection.local.host)

    return Leaf(f"destination ip {cidr}", test)


def destination_port(begin: int, end: int) -> Leaf:
    """The port that the connection came to, in [begin, end)."""
    if end == begin + 1:
        return Leaf(
            f"destination port {begin}", lambda _, facts: facts.connection.local.port == begin
        )
    return Leaf(
        f"destination port in [{begin}, {end})",
        lambda _, facts: begin <= facts.connection.local.port < end,
    )


def requested_server_name(name: StringMatcher) -> Leaf:
    """The SNI; empty where none was sent."""
    matches = name.test()
    return Leaf(
        f"server name {name.describe()}", lambda _, facts: matches(facts.connection.server_name)
    )


# -- the request --------------------------------------------------------------------------------


def header(matcher: HeaderMatcher) -> Leaf:
    """A field, each of its values alone."""
    plain = not matcher.invert and not matcher.missing_is_empty
    text = matcher.value.text if plain and isinstance(matcher.value, Exact) else ""
    if text and matcher.name == ":method":
        keys: Keys = {"method": frozenset((text,))}
        return Leaf(matcher.describe(), lambda request, _: request.method == text, keys)
    if text:
        return Leaf(matcher.describe(), _one_value(matcher.name, text))
    return Leaf(matcher.describe(), lambda request, _: matcher.matches(request))


def _one_value(name: str, text: str) -> Test:
    def test(request: Request, _: Facts) -> bool:
        return text in request.field(name)

    return test


def host(matcher: HeaderMatcher) -> Leaf:
    """`:authority` as a DENY sees it: also without its port and without the final dot.

    Stricter than Envoy: the threat model's `host-dot-port`.
    """

    def test(request: Request, _: Facts) -> bool:
        if matcher.matches(request):
            return True
        bare = _bare_host(request.authority)
        return bool(bare) and matcher.matches_values((bare,))

    return Leaf(matcher.describe(), test)


def _bare_host(authority: str) -> str:
    name, colon, port = authority.rpartition(":")
    if colon and port.isascii() and (port.isdecimal() or not port):
        authority = name
    return authority.rstrip(".")


def url_path(path: StringMatcher) -> Leaf:
    """The path without query and fragment."""
    matches = path.test()
    keys: Keys = {"path": frozenset((path.text,))} if isinstance(path, Exact) else NO_KEYS
    return Leaf(
        f"path {path.describe()}",
        lambda request, facts: bool(request.path) and matches(policy_path(request, facts)),
        keys,
    )


def policy_path(request: Request, facts: Facts) -> str:
    """The path that policies match."""
    path = without_query(request.path)
    return without_parameters(path) if facts.ignore_path_parameters else path


def uri_template(template: UriTemplate, *, any_octet: bool) -> Leaf:
    """The path against a template."""
    matches = template.matches_any_octet if any_octet else template.matches
    return Leaf(
        f"path template {template.text}",
        lambda request, facts: bool(request.path) and matches(policy_path(request, facts)),
    )


# -- what other filters said --------------------------------------------------------------------


def metadata(matcher: MetadataMatcher) -> Leaf:
    """Dynamic metadata."""
    return Leaf(matcher.describe(), lambda _, facts: matcher.matches(facts.dynamic_metadata))


def route_metadata(matcher: MetadataMatcher) -> Leaf:
    """Metadata of the matched route."""
    return Leaf(
        f"route {matcher.describe()}",
        lambda _, facts: matcher.matches(facts.route_metadata or _NOTHING),
    )


def filter_state(key: str, value: StringMatcher) -> Leaf:
    """A filter state object's text."""
    matches = value.test()

    def test(_: Request, facts: Facts) -> bool:
        found = facts.filter_state.get(key)
        return found is not None and matches(found)

    return Leaf(f"filter state {key} {value.describe()}", test)


def filter_state_address(key: str, ranges: Sequence[CidrRange], invert: bool) -> Leaf:
    """A filter state object that is an address."""

    def test(_: Request, facts: Facts) -> bool:
        found = facts.filter_state.get(key)
        ip = None if found is None else parse_ip(found)
        return ip is not None and any(r.contains_ip(ip) for r in ranges) is not invert

    return Leaf(f"filter state {key} in {', '.join(map(str, ranges))}", test)
