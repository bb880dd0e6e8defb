"""Subject alternative names that a peer's certificate may have, as Envoy matches them."""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.certificate import Certificate
from meshsdk.config.fields import MessageTable, check, honoured, refused
from meshsdk.config.reader import Reader
from meshsdk.matching.strings import StringMatcher, parse_string_matcher

SAN_MATCHER: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher",
    {**honoured("san_type", "matcher"), "oid": refused("other names are not read")},
    security=True,
)
_TYPES: Final = {name: name for name in ("EMAIL", "DNS", "URI", "IP_ADDRESS")}
# match_subject_alt_names: any name of the types that Envoy tries.
_ANY: Final = ("DNS", "URI", "EMAIL", "IP_ADDRESS")


@dataclass(frozen=True, slots=True)
class SanMatcher:
    """One entry of `match_typed_subject_alt_names` or `match_subject_alt_names`."""

    san_types: tuple[str, ...]
    """Some of DNS, URI, EMAIL, IP_ADDRESS."""
    matcher: StringMatcher
    exact: str | None = None
    """The text of an exact matcher: for DNS a wildcard in the certificate may stand for a label."""
    prefix: str | None = None
    """The text of a prefix matcher."""

    def __call__(self, certificate: Certificate, /) -> bool:
        """Whether one of a certificate's names matches."""
        return any(self._matches(kind, certificate) for kind in self.san_types)

    def _matches(self, kind: str, certificate: Certificate) -> bool:
        names = _names(kind, certificate)
        if kind == "DNS" and self.exact is not None:
            return any(_dns_name_matches(name.lower(), self.exact.lower()) for name in names)
        return any(self.matcher.matches(name) for name in names)

    def describe(self) -> str:
        """For people: `URI prefix "spiffe://td/"`."""
        kinds = "" if self.san_types == _ANY else f"{'/'.join(self.san_types)} "
        return f"{kinds}{self.matcher.describe()}"


def _names(kind: str, certificate: Certificate) -> tuple[str, ...]:
    match kind:
        case "URI":
            return certificate.uri_sans
        case "DNS":
            return certificate.dns_sans
        case "EMAIL":
            return certificate.email_sans
        case _:
            return certificate.ip_sans


def _dns_name_matches(san: str, name: str) -> bool:
    """RFC 6125 6.4.3: the leftmost label of a certificate's name may be `*`, for one label."""
    if not san.startswith("*."):
        return san == name
    label, dot, parent = name.partition(".")
    return bool(label and dot) and "." in parent and parent == san[2:]


def parse_typed_san(reader: Reader) -> SanMatcher:
    """An entry of `match_typed_subject_alt_names`."""
    check(reader, SAN_MATCHER)
    kind = reader.enum("san_type", _TYPES, "SAN_TYPE_UNSPECIFIED")
    return _matcher((kind,), reader.required_message("matcher"))


def parse_untyped_san(reader: Reader) -> SanMatcher:
    """An entry of the deprecated `match_subject_alt_names`: a name of any type."""
    return _matcher(_ANY, reader)


def _matcher(kinds: tuple[str, ...], reader: Reader) -> SanMatcher:
    plain = not reader.boolean("ignore_case")
    return SanMatcher(
        kinds,
        parse_string_matcher(reader),
        reader.string("exact") if plain and reader.has("exact") else None,
        reader.string("prefix") if plain and reader.has("prefix") else None,
    )
