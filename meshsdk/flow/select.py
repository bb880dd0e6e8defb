"""Which listener and filter chain take a call, as they would in a sidecar."""

from dataclasses import dataclass, replace

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.value import value
from meshsdk.flow.chains import find_chain
from meshsdk.flow.plan import ANY_ADDRESSES, ListenerPlan, Plan
from meshsdk.resources.hcm import HttpConnectionManager
from meshsdk.resources.listener import FilterChain

_LOOPBACK = Peer(physical=Address("127.0.0.1", 0), connection=Address("127.0.0.1", 0))
_PLAINTEXT_ALPN = {"http1": ("http/1.1",), "h2": ("h2c",)}


_REMEMBERED = 4096
"""Targets; reached only by applications that invent host names."""
_UNKNOWN = object()


@value
class Target:
    """What the application asked for, before any policy: the socket that it would have dialled."""

    host: str
    port: int
    tls: bool = False
    """The application speaks TLS itself (`https://`): passed through, no HTTP feature applies."""
    server_name: str = ""
    alpn: tuple[str, ...] = ("http/1.1",)


@dataclass(slots=True)
class Selected:
    """Where a call goes on. One of `hcm` and `chain` is set."""

    listener: ListenerPlan
    connection: Connection
    chain: FilterChain | None = None
    hcm: HttpConnectionManager | None = None
    """Of an API listener or of the chain's end."""
    refusal: str = ""
    """Why the call cannot go on here; empty: it can."""


def outbound(plan: Plan, target: Target) -> Selected | None:
    """`find_outbound`, remembered per plan: the same target leads to the same chain."""
    known = plan.selected.get(target, _UNKNOWN)
    if known is _UNKNOWN:
        if len(plan.selected) >= _REMEMBERED:
            plan.selected.clear()
        found = find_outbound(plan, target)
        if found is not None and target.tls:
            found.refusal = _unread_tls(found, target)
        known = plan.selected[target] = found
    assert known is None or isinstance(known, Selected)
    return known


def find_outbound(plan: Plan, target: Target) -> Selected | None:
    """The listener and chain for an outbound call; None when nothing takes it.

    An API listener of that name first (proxyless feeds); then as iptables, DNS and Envoy would:
    address from the name table, exact listener, wildcard listener, virtualOutbound; in a static
    mesh the only listener that is not inbound. (FEED.md 5.1.)
    """
    api = plan.by_name.get(f"{target.host}:{target.port}")
    if api is not None and api.listener.api_listener is not None:
        connection = _connection(target, Address(target.host, target.port))
        return Selected(api, connection, hcm=api.listener.api_listener)
    addresses = plan.addresses_of(target.host)
    for host in addresses:
        found = plan.by_address.get((host, target.port))
        if found is not None:
            return select_on(found, _connection(target, Address(host, target.port)))
    local = Address(addresses[0] if addresses else target.host, target.port)
    found = _wildcard(plan, target.port) or plan.virtual_outbound or plan.only_outbound
    return None if found is None else select_on(found, _connection(target, local))


def _unread_tls(selected: Selected, target: Target) -> str:
    """What an HTTP codec would make of a ClientHello. To go on in its place would be to send in
    plaintext what the application asked to be encrypted."""
    if selected.hcm is None or (selected.chain is not None and selected.chain.tls is not None):
        return ""
    name = selected.listener.listener.name
    return (
        f"https to {target.host}:{target.port}: the listener {name} reads HTTP, not"
        " TLS of the application; ask for http, which the mesh encrypts as its policy says"
    )


def inbound(plan: Plan, connection: Connection) -> Selected | None:
    """The listener and chain for a connection that the application's own port accepted."""
    local = connection.local
    by_address = plan.inbound_by_address
    found = by_address.get((local.host, local.port))
    if found is None:
        found = next(
            (
                by_address[any_, local.port]
                for any_ in ANY_ADDRESSES
                if (any_, local.port) in by_address
            ),
            plan.virtual_inbound,
        )
    if found is None:
        return None
    selected = select_on(found, _as_inspected(found, connection))
    if selected is not None:
        selected.connection = connection
    return selected


def _as_inspected(found: ListenerPlan, connection: Connection) -> Connection:
    """What the listener's inspectors let it know: without one, every connection is raw_buffer."""
    filters = found.listener.listener_filters
    port = connection.local.port
    if connection.transport_protocol == "tls":
        if filters.inspects_tls(port):
            return connection
    elif not connection.application_protocols or filters.inspects_http(port):
        return connection
    return replace(
        connection, transport_protocol="raw_buffer", server_name="", application_protocols=()
    )


def _wildcard(plan: Plan, port: int) -> ListenerPlan | None:
    for any_ in ANY_ADDRESSES:
        found = plan.by_address.get((any_, port))
        if found is not None:
            return found
    return None


def _connection(target: Target, local: Address) -> Connection:
    if target.tls:
        name = target.server_name or target.host
        return Connection(local, _LOOPBACK, "tls", name.lower(), target.alpn)
    alpn = _PLAINTEXT_ALPN["h2" if target.alpn[:1] == ("h2",) else "http1"]
    return Connection(local, _LOOPBACK, "raw_buffer", "", alpn)


def select_on(found: ListenerPlan, connection: Connection) -> Selected | None:
    """The chain of a listener that takes a connection; None: it is closed."""
    chain = _chain(found, connection)
    if chain is None:
        return None
    terminal = chain.terminal
    hcm = terminal if isinstance(terminal, HttpConnectionManager) else None
    return Selected(found, connection, chain, hcm)


def _chain(found: ListenerPlan, connection: Connection) -> FilterChain | None:
    """The chain for these facts, remembered per plan; peers count only where a chain looks at them."""
    local = connection.local
    key = (
        local.host,
        local.port,
        connection.transport_protocol,
        connection.server_name,
        connection.application_protocols,
        (connection.peer.physical, connection.peer.connection) if found.by_source else None,
    )
    if key in found.chosen:
        return found.chosen[key]
    listener = found.listener
    chain = find_chain(listener.filter_chains, connection) or listener.default_filter_chain
    return found.remember(key, chain)
