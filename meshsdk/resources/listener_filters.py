"""Listener filters: what is found out about a connection before its chain is chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from meshsdk.config.fields import MessageTable, check, honoured, refused
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError

LISTENER_FILTER: Final = MessageTable(
    "envoy.config.listener.v3.ListenerFilter",
    {
        **honoured("name", "typed_config", "filter_disabled"),
        "config_discovery": refused("listener filters by discovery"),
    },
    security=True,
)
PREDICATE: Final = MessageTable(
    "envoy.config.listener.v3.ListenerFilterChainMatchPredicate",
    honoured("or_match", "and_match", "not_match", "any_match", "destination_port_range"),
    security=True,
)
_PREFIX: Final = "type.googleapis.com/envoy.extensions.filters.listener."
_KINDS: Final = {
    f"{_PREFIX}original_dst.v3.OriginalDst": "original_dst",
    f"{_PREFIX}tls_inspector.v3.TlsInspector": "tls_inspector",
    f"{_PREFIX}http_inspector.v3.HttpInspector": "http_inspector",
}
TABLES: Final = (LISTENER_FILTER, PREDICATE)

Ports: TypeAlias = Callable[[int], bool]
"""Whether something holds for a destination port."""


@dataclass(frozen=True, slots=True, eq=False)
class ListenerFilters:
    """Which inspectors look at a connection, by its destination port."""

    by_kind: Mapping[str, Ports]
    original_dst: bool = False
    """Connections come by capture; their own address says which port was meant."""

    def inspects_tls(self, port: int) -> bool:
        """Whether TLS is told from plaintext; else every connection is `raw_buffer`."""
        return self._on("tls_inspector", port)

    def inspects_http(self, port: int) -> bool:
        """Whether plaintext is looked at for `http/1.1` and `h2c`."""
        return self._on("http_inspector", port)

    def _on(self, kind: str, port: int) -> bool:
        disabled = self.by_kind.get(kind)
        return disabled is not None and not disabled(port)


NO_LISTENER_FILTERS: Final = ListenerFilters({})


def parse_listener_filters(reader: Reader) -> ListenerFilters:
    """The `listener_filters` of a listener. Unknown ones are refused: chains may depend on them."""
    by_kind: dict[str, Ports] = {}
    for entry in reader.messages("listener_filters"):
        check(entry, LISTENER_FILTER)
        config = entry.typed("typed_config")
        url = "" if config is None else config.type_url
        kind = _KINDS.get(url)
        if kind is None:
            name = entry.string("name")
            raise UnknownExtensionError(
                entry.path, f"no listener filter takes {url or 'no config'} (filter {name!r})", url
            )
        disabled = entry.message("filter_disabled")
        by_kind[kind] = _never if disabled is None else _predicate(disabled)
    return ListenerFilters(by_kind, "original_dst" in by_kind)


def _never(_port: int) -> bool:
    return False


def _predicate(reader: Reader) -> Ports:
    check(reader, PREDICATE)
    match reader.required(
        "or_match", "and_match", "not_match", "any_match", "destination_port_range"
    ):
        case "or_match":
            parts = _set(reader.required_message("or_match"))
            return lambda port: any(part(port) for part in parts)
        case "and_match":
            parts = _set(reader.required_message("and_match"))
            return lambda port: all(part(port) for part in parts)
        case "not_match":
            inner = _predicate(reader.required_message("not_match"))
            return lambda port: not inner(port)
        case "any_match":
            always = reader.boolean("any_match")
            return lambda _port: always
        case _:
            ports = reader.required_message("destination_port_range")
            start, end = ports.integer("start"), ports.integer("end")
            return lambda port: start <= port < end


def _set(reader: Reader) -> tuple[Ports, ...]:
    return reader.each("rules", _predicate, at_least=2)
