"""What can be plugged in, and the registries through which typed configs find their code."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, Generic, Literal, Protocol, TypeAlias, TypeVar

from meshsdk.call.filter import HttpFilter
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError, UsageError

Status: TypeAlias = Literal["alpha", "stable"]


class Extension(Protocol):
    """What every kind of extension has. Names and type URLs are copied whole from Envoy."""

    @property
    def name(self) -> str: ...
    @property
    def type_urls(self) -> tuple[str, ...]: ...


E = TypeVar("E", bound=Extension)


class Registry(Generic[E]):
    """Extensions of one kind, found by the type URL of their config, never by the filter's name."""

    def __init__(self, kind: str, extensions: Iterable[E] = ()) -> None:
        self.kind = kind
        self._by_url: dict[str, E] = {}
        for extension in extensions:
            for url in extension.type_urls:
                if url in self._by_url:
                    raise ValueError(f"two {kind} extensions take {url}")
                self._by_url[url] = extension

    def find(self, type_url: str) -> E | None:
        """The extension for a type URL, or None."""
        return self._by_url.get(type_url)

    def get(self, config: Reader) -> E:
        """The extension for a typed config; UnknownExtensionError names the type URL."""
        extension = self._by_url.get(config.type_url)
        if extension is None:
            raise UnknownExtensionError(
                config.path, f"no {self.kind} takes {config.type_url}", config.type_url
            )
        return extension

    def type_urls(self) -> tuple[str, ...]:
        """Every type URL that is known."""
        return tuple(self._by_url)

    def __iter__(self) -> Iterator[E]:
        # One extension may take several type URLs.
        return iter({id(extension): extension for extension in self._by_url.values()}.values())


Override: TypeAlias = Callable[[HttpFilter], HttpFilter]
"""A parsed `typed_per_filter_config`: gives the filter that is in force for a route."""


@dataclass(frozen=True, slots=True)
class HttpFilterExtension:
    """An HTTP filter: parsed and validated when config arrives."""

    name: str
    type_urls: tuple[str, ...]
    parse: "Callable[[Reader, Extensions], HttpFilter | None]"
    """None: the config has no effect on decisions (telemetry, an empty `fault`): skipped."""
    parse_override: "Callable[[Reader, Extensions], Override] | None" = None
    """None: an override is refused by name."""
    override_type_urls: tuple[str, ...] = ()
    is_terminal: bool = False
    """Only the router: it must be the last filter, and nothing else may be."""
    status: Status = "alpha"


_DIRECTIONS: Final = ("outbound", "inbound", "both")


@dataclass(frozen=True, slots=True)
class PlacedFilter:
    """An HTTP filter of the application's own, in every connection manager of a direction."""

    filter: HttpFilter
    name: str
    """How a route's `typed_per_filter_config` may switch it off (`FilterConfig.disabled`)."""
    direction: Literal["outbound", "inbound", "both"] = "both"
    before: str = ""
    """The name of the filter that it comes before, `*` for all; where there is none, the router."""

    def __post_init__(self) -> None:
        """UsageError for what would never run, or fail at every call."""
        asked: object = self.filter
        if isinstance(asked, type) or not callable(getattr(asked, "on_request", None)):
            raise UsageError(
                f"filter {self.name}: expected an object with on_request, found {asked!r}"
            )
        if self.direction not in _DIRECTIONS:
            expected = ", ".join(_DIRECTIONS)
            raise UsageError(
                f"filter {self.name}: direction: expected one of {expected}, found {self.direction!r}"
            )


F = TypeVar("F")
_MAX_STATES = 10_000
"""Live states of filters that are kept; a feed that never stops changing loses the oldest."""


class FilterStates:
    """Live state of filters (buckets, counts), which outlives the plans that they are part of.

    The key says whose it is: the kind, where the config stands, and what it says. The same config
    at the same place, sent again, goes on with what it had.
    """

    __slots__ = ("_lock", "_states")

    def __init__(self) -> None:
        self._lock = Lock()
        self._states: dict[object, object] = {}

    def keep(self, kind: type[F], key: object, make: Callable[[], F]) -> F:
        """The state under a key, made at its first use."""
        with self._lock:
            found = self._states.pop((kind, key), None)
            if not isinstance(found, kind):
                found = make()
                if len(self._states) >= _MAX_STATES:
                    del self._states[next(iter(self._states))]
            self._states[kind, key] = found
            return found


@dataclass(frozen=True, slots=True)
class Extensions:
    """The registries, built by `Mesh`, given to every parser."""

    http_filters: Registry[HttpFilterExtension]
    network_filters: "Registry[NetworkFilterExtension]"
    lb_policies: "Registry[LbPolicyExtension]"
    unknown_fields: Literal["refuse", "warn"] = "refuse"
    compat: Literal["strict", "envoy"] = "strict"
    """`envoy`: the list of section 12 of the threat model is off."""
    runtime: Mapping[str, object] | None = None
    """Static runtime layer: keys of `runtime_fraction`s and reloadable features."""
    namespace: str = ""
    """Ours, and our cluster's DNS domain: what short host names are completed with."""
    dns_domain: str = ""
    service_cluster: str = ""
    """Our node's cluster: `source_cluster` of rate limit descriptors."""
    local_address: str = "127.0.0.1"
    """This machine's own address: what X-Forwarded-For tells of a caller on loopback."""
    peer_metadata: tuple[tuple[str, str], ...] = ()
    """Header fields in which we tell peers of ourselves; empty where nobody asks who we are."""
    placed_filters: tuple[PlacedFilter, ...] = ()
    """The application's own filters, in their order."""
    filter_states: FilterStates = field(default_factory=FilterStates, compare=False, repr=False)
    """Handed from plan to plan with the registries."""


@dataclass(frozen=True, slots=True)
class NetworkFilterExtension:
    """A network filter before the terminal one (rbac, ext_authz); the terminal ones are not
    extensions: `resources/listener.py` knows the connection manager and tcp_proxy."""

    name: str
    type_urls: tuple[str, ...]
    parse: Callable[[Reader, Extensions], object]
    status: Status = "alpha"


@dataclass(frozen=True, slots=True)
class LbPolicyExtension:
    """A load balancing policy: `parse` gives the config from which `lb_policies` builds pickers."""

    name: str
    type_urls: tuple[str, ...]
    parse: Callable[[Reader, Extensions], object]
    status: Status = "alpha"
