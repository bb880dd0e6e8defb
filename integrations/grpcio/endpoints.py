"""gRPC's own channels to single endpoints: one for each host and authority, drained before they go."""

import itertools
import threading
from collections.abc import Callable
from typing import Final, Literal, Protocol, cast

from meshsdk.call.effects import Attempt
from meshsdk.call.endpoint import Host
from meshsdk.clock import Clock
from meshsdk.flow.cluster_plan import ClusterPlan
from meshsdk.integrations.grpcio.api import ChannelOptions, Deserializer, Kind, Serializer
from meshsdk.upstream.endpoint_transports import EndpointTransport, EndpointTransports

_IDLE: Final = 300.0
"""Seconds after which the channel of an endpoint that nobody calls is closed."""
_DRAIN: Final = 30.0
"""Seconds that calls have once their channel may not go on (DESIGN.md 9.5)."""
_FEW: Final = 16
_serial = itertools.count(1)


class GrpcChannel(Protocol):
    """A channel of either colour, as far as it is used here."""

    def unary_unary(
        self, method: str, request_serializer: object, response_deserializer: object
    ) -> object: ...


Connect = Callable[[EndpointTransport, ChannelOptions], GrpcChannel]
Close = Callable[[GrpcChannel], None]
Later = Callable[[float, Callable[[], None]], object]
"""Does something after some seconds, on a thread (or in a loop) that may close channels."""
_Key = tuple[str, object, bytes, str, str]


class Endpoint:
    """A channel to one host. Calls that use it are counted, so that none is cut when it goes."""

    __slots__ = ("_methods", "active", "authority", "channel", "cluster", "is_retired", "key",
                 "transport", "used_at")  # fmt: skip

    def __init__(
        self, key: _Key, channel: GrpcChannel, transport: EndpointTransport, authority: str
    ) -> None:
        self.key = key
        self.channel = channel
        self.transport = transport
        self.authority = authority
        self.active = 0
        self.used_at = 0.0
        self.is_retired = False
        self._methods: dict[tuple[object, ...], object] = {}

    def method(
        self, kind: Kind, path: str, serialize: Serializer | None, deserialize: Deserializer | None
    ) -> object:
        """The multicallable of a method at this endpoint."""
        key = (kind, path, serialize, deserialize)
        found = self._methods.get(key)
        if found is None:
            make = cast("Callable[[str, object, object], object]", getattr(self.channel, kind))
            if len(self._methods) > 1024:
                self._methods.clear()
            found = self._methods[key] = make(path, serialize, deserialize)
        return found


class Endpoints:
    """The endpoints of one channel. Any thread; under asyncio one event loop."""

    def __init__(
        self,
        transports: Callable[[], EndpointTransports],
        clock: Clock,
        options: ChannelOptions,
        connect: Connect,
        close: Close,
        later: Later,
    ) -> None:
        self._transports = transports
        self._clock = clock
        self._options = [(name, value) for name, value in options if name not in _NOT_FOR_ENDPOINTS]
        self._connect = connect
        self._close = close
        self._later = later
        self._lock = threading.Lock()
        self._of: EndpointTransports | None = None
        self._by_host: dict[Host, Endpoint] = {}
        self._by_key: dict[_Key, Endpoint] = {}
        self._retired: list[Endpoint] = []

    @property
    def count(self) -> int:
        """Endpoints that have a channel."""
        return len(self._by_key)

    @property
    def draining(self) -> int:
        """Channels that wait for their last calls."""
        return len(self._retired)

    def of(self, attempt: Attempt) -> Endpoint:
        """The endpoint for an attempt, counted in: `release` it."""
        plan = attempt.cluster
        assert isinstance(plan, ClusterPlan)
        return self.take(plan, attempt.host, attempt.request.authority)

    def take(
        self,
        plan: ClusterPlan,
        host: Host,
        authority: str,
        protocol: Literal["h2", "tcp"] = "h2",
    ) -> Endpoint:
        """The endpoint of a host, counted in."""
        transports = self._transports()
        now = self._clock.monotonic()
        with self._lock:
            if transports is not self._of:  # a forked child: the parent's channels are not ours
                self._of = transports
                self._by_host, self._by_key, self._retired = {}, {}, []
            found = self._by_host.get(host)
            if (
                found is None
                or found.authority != authority
                or found.key[4] != protocol
                or found.is_retired
                or not _may_serve(found, now, transports)
            ):
                found = self._find(plan, host, authority, protocol, transports, now)
            found.active += 1
            found.used_at = now
        return found

    def release(self, endpoint: Endpoint) -> None:
        """A call is over."""
        with self._lock:
            endpoint.active -= 1
            is_over = endpoint.is_retired and not endpoint.active
        if is_over:
            self._later(0.0, lambda: self._drained(endpoint))

    def close(self) -> None:
        """Close every channel at once, with the calls that run on it."""
        with self._lock:
            endpoints = [*self._by_key.values(), *self._retired]
            self._by_host, self._by_key, self._retired = {}, {}, []
            for endpoint in endpoints:
                endpoint.is_retired = True
        for endpoint in endpoints:
            self._shut(endpoint)

    # -- with the lock held -----------------------------------------------------------------

    def _find(
        self,
        plan: ClusterPlan,
        host: Host,
        authority: str,
        protocol: Literal["h2", "tcp"],
        transports: EndpointTransports,
        now: float,
    ) -> Endpoint:
        digest = cast("bytes", getattr(host.socket, "digest", b""))
        key = (plan.name, host.endpoint.address, digest, authority, protocol)
        found = self._by_key.get(key)
        if found is not None and not _may_serve(found, now, transports):
            self._retire(found)
            found = None
        if found is None:
            self._tidy(now)
            found = self._open(key, plan, host, authority, protocol, transports)
            self._by_key[key] = found
        if len(self._by_host) > 2 * len(self._by_key) + _FEW:
            self._by_host.clear()  # hosts of load assignments that are gone
        self._by_host[host] = found
        return found

    def _open(
        self,
        key: _Key,
        plan: ClusterPlan,
        host: Host,
        authority: str,
        protocol: Literal["h2", "tcp"],
        transports: EndpointTransports,
    ) -> Endpoint:
        transport = transports.open(plan, host, authority, protocol=protocol)
        options = [
            *self._options,
            ("grpc.default_authority", authority),
            ("grpc.enable_http_proxy", 0),
            ("grpc.service_config_disable_resolution", 1),
            # C-core waits for a second and then up to two minutes: hosts are ours to judge.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.min_reconnect_backoff_ms", max(1, int(plan.cluster.connect_timeout * 1000))),
            # Equal channels would share connections: this one's end with it.
            ("meshsdk.serial", next(_serial)),
        ]
        return Endpoint(key, self._connect(transport, options), transport, authority)

    def _retire(self, endpoint: Endpoint) -> None:
        endpoint.is_retired = True
        if self._by_key.get(endpoint.key) is endpoint:
            del self._by_key[endpoint.key]
        self._retired.append(endpoint)
        self._later(_DRAIN if endpoint.active else 0.0, lambda: self._drained(endpoint))

    def _drained(self, endpoint: Endpoint) -> None:
        """Without the lock: its last call is over, or it had its time."""
        with self._lock:
            if endpoint not in self._retired:
                return
            self._retired.remove(endpoint)
        self._shut(endpoint)

    def _tidy(self, now: float) -> None:
        """Close what nobody has called for long."""
        for endpoint in list(self._by_key.values()):
            if not endpoint.active and endpoint.used_at + _IDLE < now:
                self._retire(endpoint)

    def _shut(self, endpoint: Endpoint) -> None:
        self._close(endpoint.channel)
        endpoint.transport.close()


_NOT_FOR_ENDPOINTS: Final = frozenset(
    {
        "grpc.default_authority",
        "grpc.lb_policy_name",
        "grpc.enable_http_proxy",
        "SingleThreadedUnaryStream",
    }
)


def _may_serve(endpoint: Endpoint, now: float, transports: EndpointTransports) -> bool:
    transport = endpoint.transport
    return transport.relay is None or (
        transport.generation == transports.generation and transport.renew_at > now
    )
