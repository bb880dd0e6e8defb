"""The `matcher` form of RBAC: a matcher tree whose leaves are named actions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from meshsdk.call.message import UNKNOWN_AUTHORITY, Request
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError
from meshsdk.filters.rbac_engine import ACTIONS, Names, Ruling
from meshsdk.filters.rbac_nodes import Facts
from meshsdk.matching.octets import lower, octets
from meshsdk.matching.tree import Matcher, TreeParser

ACTION_TABLE: Final = MessageTable(
    "envoy.config.rbac.v3.Action", honoured("name", "action"), security=True
)
_ACTION_URL: Final = "type.googleapis.com/envoy.config.rbac.v3.Action"
_HEADER_TABLE: Final = MessageTable(
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", honoured("header_name"), security=True
)
_NO_FIELDS: Final = MessageTable("(an input without fields)", {}, security=True)
TABLES: Final = (ACTION_TABLE, _HEADER_TABLE)
Context: TypeAlias = tuple[Request, Facts]
_Input: TypeAlias = Callable[[Context], str | None]


class _UnknownError(Exception):
    """The tree asks for what nobody knows."""


@dataclass(frozen=True, slots=True)
class MatcherEngine:
    """The ruling that the tree leads to; none is a denial."""

    matcher: Matcher[Context, Ruling]
    on_none: Ruling
    names: Names | None = None
    """In place of those that the tree's rulings have."""

    def named(self, names: Names) -> "MatcherEngine":
        return replace(self, on_none=names.renamed(self.on_none), names=names)

    def decide(self, request: Request, facts: Facts) -> Ruling:
        try:
            found = self.matcher.find((request, facts))
        except _UnknownError:
            return self.on_none
        if found is None:
            return self.on_none
        return found if self.names is None else self.names.renamed(found)


def parse_matcher(reader: Reader, names: Names) -> MatcherEngine:
    """The engine of an xds.type.matcher.v3.Matcher over envoy.config.rbac.v3.Action."""
    logs: list[bool] = []

    def action(config: Reader) -> Ruling:
        if config.type_url != _ACTION_URL:
            raise UnknownExtensionError(
                config.path, f"no RBAC action takes {config.type_url}", config.type_url
            )
        check(config, ACTION_TABLE)
        name = config.required_string("name")
        kind = config.enum("action", ACTIONS, "ALLOW")
        logs.append(kind == "LOG")
        return names.ruling(kind != "DENY", name, kind == "LOG")

    matcher = TreeParser(_INPUTS, action).parse(reader)
    on_none = names.ruling(False, "", False)
    if any(logs):
        return MatcherEngine(matcher, on_none)
    # Only where some action is LOG does Envoy touch the hint.
    return MatcherEngine(_Hintless(matcher), replace(on_none, log_hint=None))


@dataclass(frozen=True, slots=True)
class _Hintless:
    """A matcher whose rulings say nothing to the access log."""

    matcher: Matcher[Context, Ruling]

    def find(self, context: Context, /) -> Ruling | None:
        found = self.matcher.find(context)
        return None if found is None else replace(found, log_hint=None)


def _header(reader: Reader) -> _Input:
    check(reader, _HEADER_TABLE)
    name = lower(octets(reader.required_string("header_name")))

    def read(context: Context) -> str | None:
        if name in (":authority", "host") and context[0].authority == UNKNOWN_AUTHORITY:
            raise _UnknownError
        values = context[0].field(name)
        # Here, unlike in header matchers, Envoy joins the lines (corpus: matcher-header-multi).
        return ",".join(values) if values else None

    return read


def _fact(read: _Input) -> Callable[[Reader], _Input]:
    def parse(reader: Reader) -> _Input:
        check(reader, _NO_FIELDS)
        return read

    return parse


def _joined(sans: tuple[str, ...]) -> str | None:
    return ",".join(sans) if sans else None


def _uri_san(context: Context) -> str | None:
    certificate = context[1].connection.peer.certificate
    return None if certificate is None else _joined(certificate.uri_sans)


def _dns_san(context: Context) -> str | None:
    certificate = context[1].connection.peer.certificate
    return None if certificate is None else _joined(certificate.dns_sans)


def _subject(context: Context) -> str | None:
    certificate = context[1].connection.peer.certificate
    return None if certificate is None or not certificate.subject else certificate.subject


_NETWORK: Final = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3."
_SSL: Final = "type.googleapis.com/envoy.extensions.matching.common_inputs.ssl.v3."
# What Envoy's RBAC filters allow as inputs, less CEL.
_INPUTS: Final[Mapping[str, Callable[[Reader], _Input]]] = {
    "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput": _header,
    _NETWORK + "DestinationIPInput": _fact(lambda c: c[1].connection.local.host),
    _NETWORK + "DestinationPortInput": _fact(lambda c: str(c[1].connection.local.port)),
    # The client after X-Forwarded-For was judged, unlike the principal `source_ip` (observed).
    _NETWORK + "SourceIPInput": _fact(lambda c: c[1].remote.host),
    _NETWORK + "SourcePortInput": _fact(lambda c: str(c[1].remote.port)),
    _NETWORK + "DirectSourceIPInput": _fact(lambda c: c[1].connection.peer.physical.host),
    _NETWORK + "ServerNameInput": _fact(lambda c: c[1].connection.server_name or None),
    _SSL + "UriSanInput": _fact(_uri_san),
    _SSL + "DnsSanInput": _fact(_dns_san),
    _SSL + "SubjectInput": _fact(_subject),
}
