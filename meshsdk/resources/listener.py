"""Listener (LDS): addresses, and the filter chains behind them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from meshsdk.call.address import Address
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built, refused
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError, UnknownExtensionError
from meshsdk.resources import filter_chain, hcm, listener_filters, tcp_proxy, tls_fields
from meshsdk.resources.address import parse_address
from meshsdk.resources.extension_config import ExtensionConfig
from meshsdk.resources.filter_chain import FilterChain, parse_filter_chain
from meshsdk.resources.filter_chain_match import (
    FILTER_CHAIN_MATCH,
    FilterChainMatch,
    check_distinct,
)
from meshsdk.resources.hcm import HttpConnectionManager, parse_hcm
from meshsdk.resources.http_filters import Discovery, NamedFilter, NoFilterConfig
from meshsdk.resources.listener_filters import (
    NO_LISTENER_FILTERS,
    ListenerFilters,
    parse_listener_filters,
)
from meshsdk.resources.tcp_proxy import TcpProxy

__all__ = ["TABLES", "TYPE_URL", "FilterChain", "FilterChainMatch", "Listener", "parse"]

TYPE_URL: Final = "type.googleapis.com/envoy.config.listener.v3.Listener"
_SOCKETS = ignored("a matter of sockets")
_TELEMETRY = ignored("telemetry")
LISTENER: Final = MessageTable(
    "envoy.config.listener.v3.Listener",
    {
        **honoured(
            "name",
            "address",
            "additional_addresses",
            "filter_chains",
            "default_filter_chain",
            "use_original_dst",
            "traffic_direction",
            "api_listener",
            "listener_filters",
        ),
        "filter_chain_matcher": refused("filter chains by a matcher tree"),
        "fcds_config": refused("filter chains by discovery"),
        "udp_listener_config": not_built("UDP"),
        "internal_listener": not_built("internal listeners (HBONE tunnels)"),
        "bind_to_port": ignored("nothing is bound: the application's own sockets are used"),
        "listener_filters_timeout": _SOCKETS,
        "continue_on_listener_filters_timeout": _SOCKETS,
        "per_connection_buffer_limit_bytes": _SOCKETS,
        "per_connection_buffer_high_watermark_timeout": _SOCKETS,
        "drain_type": _SOCKETS,
        "deprecated_v1": _SOCKETS,
        "transparent": _SOCKETS,
        "freebind": _SOCKETS,
        "socket_options": _SOCKETS,
        "tcp_fast_open_queue_length": _SOCKETS,
        "connection_balance_config": _SOCKETS,
        "reuse_port": _SOCKETS,
        "enable_reuse_port": _SOCKETS,
        "tcp_backlog_size": _SOCKETS,
        "max_connections_to_accept_per_socket_event": _SOCKETS,
        "enable_mptcp": _SOCKETS,
        "ignore_global_conn_limit": _SOCKETS,
        "bypass_overload_manager": _SOCKETS,
        "tcp_keepalive": _SOCKETS,
        "stat_prefix": _TELEMETRY,
        "stats_matcher": _TELEMETRY,
        "access_log": _TELEMETRY,
        "metadata": _TELEMETRY,
    },
)
ADDITIONAL_ADDRESS: Final = MessageTable(
    "envoy.config.listener.v3.AdditionalAddress",
    {**honoured("address"), "socket_options": _SOCKETS, "tcp_keepalive": _SOCKETS},
)
API_LISTENER: Final = MessageTable(
    "envoy.config.listener.v3.ApiListener", honoured("api_listener"), security=True
)
TABLES: Final = (
    LISTENER,
    ADDITIONAL_ADDRESS,
    API_LISTENER,
    *filter_chain.TABLES,
    FILTER_CHAIN_MATCH,
    *listener_filters.TABLES,
    *hcm.TABLES,
    *tcp_proxy.TABLES,
    *tls_fields.TABLES,
)
_DIRECTIONS: Final = {name: name for name in ("UNSPECIFIED", "INBOUND", "OUTBOUND")}


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """One version of a listener."""

    name: str
    addresses: tuple[Address, ...] = ()
    """The main one first; none for API listeners and internal ones."""
    traffic_direction: str = "UNSPECIFIED"
    """UNSPECIFIED, INBOUND or OUTBOUND."""
    api_listener: HttpConnectionManager | None = None
    """For clients that ask by name; it has no chains then."""
    filter_chains: tuple[FilterChain, ...] = ()
    default_filter_chain: FilterChain | None = None
    use_original_dst: bool = False
    """A connection goes to the listener of the address that it was meant for, if there is one."""
    listener_filters: ListenerFilters = NO_LISTENER_FILTERS
    not_built: tuple[str, ...] = ()

    @property
    def is_virtual(self) -> bool:
        """Whether captured connections come here (virtualOutbound, virtualInbound)."""
        return self.use_original_dst or self.listener_filters.original_dst

    def chains(self) -> Iterator[FilterChain]:
        """Every chain, the default one last."""
        yield from self.filter_chains
        if self.default_filter_chain is not None:
            yield self.default_filter_chain

    def connection_managers(self) -> Iterator[HttpConnectionManager]:
        """Every connection manager."""
        if self.api_listener is not None:
            yield self.api_listener
        for chain in self.chains():
            if isinstance(chain.terminal, HttpConnectionManager):
                yield chain.terminal

    @property
    def reports(self) -> tuple[tuple[str, str], ...]:
        """Path and reason of what was skipped or has no code yet."""
        reports: list[tuple[str, str]] = []
        missing = list(self.not_built)
        for manager in self.connection_managers():
            reports.extend(manager.reports)
            reports.extend(manager.unlogged)
            missing.extend(manager.not_built)
            if manager.route_config is not None:
                missing.extend(manager.route_config.not_built)
        for chain in self.chains():
            if isinstance(chain.terminal, TcpProxy):
                missing.extend(chain.terminal.not_built)
        return (*reports, *((path, "not built") for path in missing))


def parse(reader: Reader, extensions: Extensions) -> Listener:
    """A Listener message."""
    missing = check(reader, LISTENER)
    name = reader.required_string("name")
    direction = reader.enum("traffic_direction", _DIRECTIONS, "UNSPECIFIED")
    api = reader.message("api_listener")
    if api is not None:
        return Listener(
            name, _addresses(reader), direction, _api_listener(api, extensions), not_built=missing
        )
    chains = reader.messages("filter_chains")
    default = reader.message("default_filter_chain")
    if not chains and default is None and not missing:
        raise reader.error_at("filter_chains", "expected at least one filter chain, found none")
    parsed = tuple(parse_filter_chain(chain, extensions) for chain in chains)
    check_distinct([chain.match for chain in parsed], chains)
    return Listener(
        name,
        _addresses(reader),
        direction,
        None,
        parsed,
        None if default is None else parse_filter_chain(default, extensions),
        reader.boolean("use_original_dst"),
        parse_listener_filters(reader),
        missing,
    )


def _api_listener(reader: Reader, extensions: Extensions) -> HttpConnectionManager:
    check(reader, API_LISTENER)
    config = reader.typed("api_listener")
    if config is None or config.type_url != hcm.TYPE_URL:
        url = "" if config is None else config.type_url
        raise UnknownExtensionError(reader.path, f"no API listener takes {url}", url)
    return parse_hcm(config, extensions)


def _addresses(reader: Reader) -> tuple[Address, ...]:
    holders = [reader.message("address")]
    for entry in reader.messages("additional_addresses"):
        check(entry, ADDITIONAL_ADDRESS)
        holders.append(entry.required_message("address"))
    found = [None if holder is None else parse_address(holder) for holder in holders]
    return tuple(address for address in found if address is not None)


def resolve(listener: Listener, configs: Mapping[str, ExtensionConfig]) -> Listener:
    """The listener with its discovered filters in place; a filter without config answers 500."""

    def resolved(manager: HttpConnectionManager) -> HttpConnectionManager:
        filters = tuple(
            f if f.discovery is None else _discovered(f, f.discovery, configs.get(f.name))
            for f in manager.http_filters
        )
        return replace(manager, http_filters=filters)

    def resolved_chain(chain: FilterChain) -> FilterChain:
        if isinstance(chain.terminal, HttpConnectionManager):
            return replace(chain, terminal=resolved(chain.terminal))
        return chain

    api, default = listener.api_listener, listener.default_filter_chain
    return replace(
        listener,
        api_listener=None if api is None else resolved(api),
        filter_chains=tuple(resolved_chain(chain) for chain in listener.filter_chains),
        default_filter_chain=None if default is None else resolved_chain(default),
    )


def _discovered(
    entry: NamedFilter, discovery: Discovery, config: ExtensionConfig | None
) -> NamedFilter:
    if config is not None and config.type_url.rpartition("/")[2] in discovery.type_urls:
        skipped = "" if config.filter is not None else f"no HTTP filter takes {config.type_url}"
        return replace(entry, filter=config.filter, type_url=config.type_url, skipped=skipped)
    return entry if config is None else replace(entry, filter=NoFilterConfig(entry.name))


def check_update(previous: Listener, new: Listener) -> ConfigError | None:
    """Why a new version must not replace the one in force, or None.

    An optional filter that nobody knows, in place of one that decides who may pass, opens the door
    that the old version kept shut (THREATS X2): with Envoy's `is_optional` alone nobody would notice.
    """
    unknown = [(path, why) for one in new.connection_managers() for path, why in one.reports]
    if not unknown or _deciding(new) >= _deciding(previous):
        return None
    path, why = unknown[0]
    return ConfigError(
        path, f"refused: {why}, and the filters that decide who may pass became fewer"
    )


def _deciding(listener: Listener) -> int:
    return sum(f.decides_access for one in listener.connection_managers() for f in one.http_filters)
