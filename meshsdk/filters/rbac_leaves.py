"""The single questions of RBAC: what each kind of permission and principal looks at."""

from collections.abc import Callable, Sequence
from typing import Final

from meshsdk.call.message import Request
from meshsdk.filters.rbac_nodes import NO_KEYS, Facts, Keys, Leaf, Seen, Test
from meshsdk.matching.cidr import CidrRange, parse_ip
from meshsdk.matching.headers import HeaderMatcher
from meshsdk.matching.metadata import MISSING, Metadata, MetadataMatcher
from meshsdk.matching.path import without_parameters, without_query
from meshsdk.matching.strings import Exact, StringMatcher
from meshsdk.matching.uri_template import UriTemplate

_JWT: Final = "envoy.filters.http.jwt_authn"
ROUTE: Final = "envoy.filters.meshsdk.route"
"""Where policies find the framework's route; Istio: `experimental.envoy.filters.meshsdk.route`."""
_NOTHING: Final[Metadata] = {}


# -- addresses and ports ------------------------------------------------------------------------


def source_ip(cidr: CidrRange) -> Leaf:
    """The peer that the connection speaks for."""

    def test(_: Request, facts: Facts) -> bool:
        return cidr.contains(facts.connection.peer.connection.host)

    return Leaf(
        f"source ip {cidr}",
        test,
        seen=Seen(
            "source ip", str(cidr), lambda _, facts: (facts.connection.peer.connection.host,)
        ),
    )


def direct_remote_ip(cidr: CidrRange) -> Leaf:
    """The physical peer."""

    def test(_: Request, facts: Facts) -> bool:
        return cidr.contains(facts.connection.peer.physical.host)

    return Leaf(
        f"direct remote ip {cidr}",
        test,
        seen=Seen(
            "direct remote ip", str(cidr), lambda _, facts: (facts.connection.peer.physical.host,)
        ),
    )


def remote_ip(cidr: CidrRange) -> Leaf:
    """The client after X-Forwarded-For was judged."""

    def test(_: Request, facts: Facts) -> bool:
        return cidr.contains(facts.remote.host)

    return Leaf(
        f"remote ip {cidr}",
        test,
        seen=Seen("remote ip", str(cidr), lambda _, facts: (facts.remote.host,)),
    )


def destination_ip(cidr: CidrRange) -> Leaf:
    """Our side of the connection."""

    def test(_: Request, facts: Facts) -> bool:
        return cidr.contains(facts.connection.local.host)

    return Leaf(
        f"destination ip {cidr}",
        test,
        seen=Seen("destination ip", str(cidr), lambda _, facts: (facts.connection.local.host,)),
    )


def destination_port(begin: int, end: int) -> Leaf:
    """The port that the connection came to, in [begin, end)."""
    is_one = end == begin + 1
    expected = str(begin) if is_one else f"in [{begin}, {end})"
    seen = Seen("destination port", expected, lambda _, facts: (facts.connection.local.port,))
    if is_one:
        return Leaf(
            f"destination port {begin}",
            lambda _, facts: facts.connection.local.port == begin,
            seen=seen,
        )
    return Leaf(
        f"destination port {expected}",
        lambda _, facts: begin <= facts.connection.local.port < end,
        seen=seen,
    )


def requested_server_name(name: StringMatcher) -> Leaf:
    """The SNI; empty where none was sent."""
    matches = name.test()
    return Leaf(
        f"server name {name.describe()}",
        lambda _, facts: matches(facts.connection.server_name),
        seen=Seen("server name", name.describe(), lambda _, facts: (facts.connection.server_name,)),
    )


# -- the request --------------------------------------------------------------------------------


def header(matcher: HeaderMatcher, *, splits: bool = False) -> Leaf:
    """A field, each of its values alone.

    `splits`: where the server has joined the lines (WSGI), each part counts too. Stricter than Envoy:
    the threat model's `wsgi-list-deny`.
    """
    plain = not matcher.invert and not matcher.missing_is_empty
    text = matcher.value.text if plain and isinstance(matcher.value, Exact) else ""
    seen = _seen_field(matcher)
    if text and matcher.name == ":method":
        keys: Keys = {"method": frozenset((text,))}
        return Leaf(matcher.describe(), lambda request, _: request.method == text, keys, seen)
    is_list = matcher.value is not None and matcher.name not in _PSEUDO
    if is_list and splits is not matcher.invert:
        return Leaf(matcher.describe(), _of_list(matcher), seen=seen)
    if text:
        return Leaf(matcher.describe(), _one_value(matcher.name, text), seen=seen)
    return Leaf(matcher.describe(), lambda request, _: matcher.matches(request), seen=seen)


def _seen_field(matcher: HeaderMatcher) -> Seen:
    name = matcher.name
    kind = _PSEUDO.get(name, "header")
    expected = (
        matcher.value.describe() if matcher.value else "present" if matcher.present else "absent"
    )
    return Seen(
        kind,
        f"not {expected}" if matcher.invert else expected,
        lambda request, _: (
            tuple(map(without_query, request.field(name)))
            if kind == "path"
            else request.field(name)
        ),
        name if kind == "header" else "",
    )


_PSEUDO: Final = {
    ":method": "method",
    ":path": "path",
    ":authority": "host",
    "host": "host",
    ":scheme": "scheme",
}


def _of_list(matcher: HeaderMatcher) -> Test:
    """The whole value or one of its parts; inverted: neither."""

    def test(request: Request, facts: Facts) -> bool:
        if not facts.connection.joins_fields:
            return matcher.matches(request)
        values = request.field(matcher.name)
        parts = [part.strip(" \t") for value in values for part in value.split(",")]
        return matcher.matches_values((*values, *parts))

    return test


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

    return Leaf(matcher.describe(), test, seen=_seen_field(matcher))


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
        Seen("path", path.describe(), _paths),
    )


def _paths(request: Request, facts: Facts) -> Sequence[str]:
    return (policy_path(request, facts),)


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
        seen=Seen("path", f"template {template.text}", _paths),
    )


# -- what other filters said --------------------------------------------------------------------


def metadata(matcher: MetadataMatcher) -> Leaf:
    """Dynamic metadata."""
    is_claim = matcher.namespace == _JWT and len(matcher.path) > 1
    expected = matcher.value.describe()
    return Leaf(
        matcher.describe(),
        lambda _, facts: matcher.matches(facts.dynamic_metadata),
        seen=Seen(
            "claim" if is_claim else "metadata",
            f"not {expected}" if matcher.invert else expected,
            lambda _, facts: _found(matcher, facts.dynamic_metadata),
            # The first part is the key under which the provider publishes its payload.
            ".".join(matcher.path[1:]) if is_claim else matcher.namespace,
        ),
    )


def _found(matcher: MetadataMatcher, metadata: Metadata) -> Sequence[object]:
    value = matcher.value_in(metadata)
    return () if value is MISSING else (value,)


def route_template(matcher: MetadataMatcher, *, unresolved: bool) -> Leaf:
    """The framework's route, as metadata `envoy.filters.meshsdk.route[template]`. Where nobody could
    tell it, what `unresolved` says: a DENY matches, an ALLOW does not."""

    def test(_: Request, facts: Facts) -> bool:
        template = facts.connection.route_template
        return matcher.matches({ROUTE: {"template": template}}) if template else unresolved

    return Leaf(
        matcher.describe(),
        test,
        seen=Seen(
            "route template",
            f"not {matcher.value.describe()}" if matcher.invert else matcher.value.describe(),
            lambda _, facts: (facts.connection.route_template,),
        ),
    )


def route_metadata(matcher: MetadataMatcher) -> Leaf:
    """Metadata of the matched route."""
    return Leaf(
        f"route {matcher.describe()}",
        lambda _, facts: matcher.matches(facts.route_metadata or _NOTHING),
        seen=Seen(
            "metadata",
            matcher.value.describe(),
            lambda _, facts: _found(matcher, facts.route_metadata or _NOTHING),
            f"{matcher.namespace} of the route",
        ),
    )


def filter_state(key: str, value: StringMatcher) -> Leaf:
    """A filter state object's text."""
    matches = value.test()

    def test(_: Request, facts: Facts) -> bool:
        found = facts.filter_state.get(key)
        return found is not None and matches(found)

    return Leaf(
        f"filter state {key} {value.describe()}",
        test,
        seen=Seen("filter state", value.describe(), _state(key), key),
    )


def _state(key: str) -> Callable[[Request, Facts], Sequence[object]]:
    def read(_: Request, facts: Facts) -> Sequence[object]:
        found = facts.filter_state.get(key)
        return () if found is None else (found,)

    return read


def filter_state_address(key: str, ranges: Sequence[CidrRange], invert: bool) -> Leaf:
    """A filter state object that is an address."""

    def test(_: Request, facts: Facts) -> bool:
        found = facts.filter_state.get(key)
        ip = None if found is None else parse_ip(found)
        return ip is not None and any(r.contains_ip(ip) for r in ranges) is not invert

    expected = f"in {', '.join(map(str, ranges))}"
    return Leaf(
        f"filter state {key} {expected}",
        test,
        seen=Seen("filter state", f"not {expected}" if invert else expected, _state(key), key),
    )
