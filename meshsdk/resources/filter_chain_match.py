"""FilterChainMatch: which connections a filter chain is for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured, refused
from meshsdk.config.reader import Reader
from meshsdk.matching.cidr import CidrRange, parse_cidr

_NEVER_BUILT: Final = refused("Envoy has no code for it either")
FILTER_CHAIN_MATCH: Final = MessageTable(
    "envoy.config.listener.v3.FilterChainMatch",
    {
        **honoured(
            "destination_port",
            "prefix_ranges",
            "server_names",
            "transport_protocol",
            "application_protocols",
            "direct_source_prefix_ranges",
            "source_type",
            "source_prefix_ranges",
            "source_ports",
        ),
        "address_suffix": _NEVER_BUILT,
        "suffix_len": _NEVER_BUILT,
    },
    security=True,
)
_SOURCE_TYPES: Final = {name: name for name in ("ANY", "SAME_IP_OR_LOOPBACK", "EXTERNAL")}
_MAX_COMBINATIONS: Final = 100_000  # of values in one chain; istiod sends tens


@dataclass(frozen=True, slots=True)
class FilterChainMatch:
    """All criteria must hold; an unset one holds always."""

    destination_port: int | None = None
    prefix_ranges: tuple[CidrRange, ...] = ()
    server_names: tuple[str, ...] = ()
    """Lower case; `*.example.com` is every name below."""
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    direct_source_prefix_ranges: tuple[CidrRange, ...] = ()
    source_type: str = "ANY"
    """ANY, SAME_IP_OR_LOOPBACK or EXTERNAL."""
    source_prefix_ranges: tuple[CidrRange, ...] = ()
    source_ports: tuple[int, ...] = ()


MATCH_ALL: Final = FilterChainMatch()


def parse_filter_chain_match(reader: Reader | None) -> FilterChainMatch:
    """A FilterChainMatch message; None matches everything."""
    if reader is None:
        return MATCH_ALL
    check(reader, FILTER_CHAIN_MATCH)
    port = None
    if reader.has("destination_port"):
        port = reader.integer("destination_port", at_least=1, at_most=65535)
    return FilterChainMatch(
        port,
        reader.each("prefix_ranges", parse_cidr),
        _server_names(reader),
        reader.string("transport_protocol"),
        reader.strings("application_protocols"),
        reader.each("direct_source_prefix_ranges", parse_cidr),
        reader.enum("source_type", _SOURCE_TYPES, "ANY"),
        reader.each("source_prefix_ranges", parse_cidr),
        reader.integers("source_ports"),
    )


def _server_names(reader: Reader) -> tuple[str, ...]:
    names = tuple(name.lower() for name in reader.strings("server_names"))
    for i, name in enumerate(names):
        # Envoy, FilterChainManagerImpl: partial wildcards are not supported.
        if "*" in name.removeprefix("*."):
            raise reader.error_at(
                f"server_names[{i}]", f"expected a name or *.name, found {name!r}"
            )
    return names


def check_distinct(matches: Sequence[FilterChainMatch], readers: Sequence[Reader]) -> None:
    """Two chains for one combination of values would make the choice arbitrary: refused."""
    taken: dict[tuple[object, ...], str] = {}
    for match, reader in zip(matches, readers, strict=True):
        for key in _combinations(match, reader):
            other = taken.setdefault(key, reader.path)
            if other != reader.path:
                raise reader.error_at(
                    "filter_chain_match", f"takes the same connections as {other}"
                )


def _combinations(match: FilterChainMatch, reader: Reader) -> Iterable[tuple[object, ...]]:
    parts: tuple[Sequence[object], ...] = (
        (match.destination_port,),
        match.prefix_ranges or (None,),
        match.server_names or ("",),
        (match.transport_protocol,),
        match.application_protocols or ("",),
        match.direct_source_prefix_ranges or (None,),
        (match.source_type,),
        match.source_prefix_ranges or (None,),
        match.source_ports or (None,),
    )
    count = 1
    for part in parts:
        count *= len(part)
    if count > _MAX_COMBINATIONS:
        raise reader.error_at(
            "filter_chain_match", f"expected at most {_MAX_COMBINATIONS} combinations of values"
        )
    return product(*parts)
