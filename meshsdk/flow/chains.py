"""Which filter chain takes a connection: Envoy's elimination, field by field."""

from collections.abc import Callable, Sequence

from meshsdk.call.connection import Connection
from meshsdk.matching.cidr import CidrRange
from meshsdk.resources.listener import FilterChain, FilterChainMatch

Chains = Sequence[FilterChain]


def find_chain(chains: Chains, connection: Connection) -> FilterChain | None:
    """The chain for a connection; None: the listener's default chain, if it has one.

    At each field: where remaining chains name a value that matches, only the best of those go on;
    else only those that leave the field open. There is no way back (Envoy, FilterChainManager).
    """
    remaining: Chains = chains
    for narrow in _FIELDS:
        remaining = narrow(remaining, connection)
        if not remaining:
            return None
    return remaining[0]


def uses_source(chains: Chains) -> bool:
    """Whether any chain looks at the peer, so that the choice differs from peer to peer."""
    return any(
        chain.match.source_prefix_ranges
        or chain.match.direct_source_prefix_ranges
        or chain.match.source_ports
        or chain.match.source_type != "ANY"
        for chain in chains
    )


def _by_rank(
    rank: Callable[[FilterChainMatch, Connection], int | None],
    is_open: Callable[[FilterChainMatch], bool],
) -> Callable[[Chains, Connection], Chains]:
    """A field's step: the chains of the highest rank; None is no match."""

    def narrow(chains: Chains, connection: Connection) -> Chains:
        best: int | None = None
        kept: list[FilterChain] = []
        for chain in chains:
            found = None if is_open(chain.match) else rank(chain.match, connection)
            if found is None:
                continue
            if best is None or found > best:
                best, kept = found, [chain]
            elif found == best:
                kept.append(chain)
        return kept or [chain for chain in chains if is_open(chain.match)]

    return narrow


def _prefix(ranges: Sequence[CidrRange], host: str) -> int | None:
    lengths = [r.prefix_length for r in ranges if r.contains(host)]
    return max(lengths) if lengths else None


def _server_name(match: FilterChainMatch, connection: Connection) -> int | None:
    """Exact names beat wildcards, longer wildcards beat shorter ones."""
    name = connection.server_name
    if not name:
        return None
    best: int | None = None
    for wanted in match.server_names:
        if wanted == name:
            return 1 << 20
        if wanted.startswith("*.") and name.endswith(wanted[1:]) and len(name) > len(wanted) - 1:
            best = max(best or 0, len(wanted))
    return best


def _source_type(match: FilterChainMatch, connection: Connection) -> int | None:
    peer = connection.peer.connection.host
    is_local = peer.startswith("127.") or peer == "::1" or peer == connection.local.host
    return 1 if (match.source_type == "SAME_IP_OR_LOOPBACK") == is_local else None


_FIELDS: tuple[Callable[[Chains, Connection], Chains], ...] = (
    _by_rank(
        lambda m, c: 1 if m.destination_port == c.local.port else None,
        lambda m: m.destination_port is None,
    ),
    _by_rank(lambda m, c: _prefix(m.prefix_ranges, c.local.host), lambda m: not m.prefix_ranges),
    _by_rank(_server_name, lambda m: not m.server_names),
    _by_rank(
        lambda m, c: 1 if m.transport_protocol == c.transport_protocol else None,
        lambda m: not m.transport_protocol,
    ),
    _by_rank(
        lambda m, c: (
            1 if any(p in m.application_protocols for p in c.application_protocols) else None
        ),
        lambda m: not m.application_protocols,
    ),
    _by_rank(
        lambda m, c: _prefix(m.direct_source_prefix_ranges, c.peer.physical.host),
        lambda m: not m.direct_source_prefix_ranges,
    ),
    _by_rank(_source_type, lambda m: m.source_type == "ANY"),
    _by_rank(
        lambda m, c: _prefix(m.source_prefix_ranges, c.peer.connection.host),
        lambda m: not m.source_prefix_ranges,
    ),
    _by_rank(
        lambda m, c: 1 if c.peer.connection.port in m.source_ports else None,
        lambda m: not m.source_ports,
    ),
)
