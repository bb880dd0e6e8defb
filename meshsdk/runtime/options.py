"""What a user sets for a whole mesh."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from meshsdk.call.address_map import AS_THEY_ARE, AddressMap
from meshsdk.call.decision_record import SHOWN, Shown
from meshsdk.clock import Clock, Random, SystemClock, SystemRandom
from meshsdk.config.extension import HttpFilterExtension, PlacedFilter
from meshsdk.errors import UsageError
from meshsdk.resilience.caller_retries import RetryStrategy
from meshsdk.telemetry import Emit
from meshsdk.telemetry.log import log
from meshsdk.telemetry.seen_call import SeenCall

Compat = Literal["strict", "envoy"]

_WORDS: Final = {
    "compat": ("strict", "envoy"),
    "unknown_fields": ("refuse", "warn"),
    "metrics": ("feed", "always", "never"),
}


@dataclass(frozen=True, slots=True)
class Options:
    """What can be set whichever way a mesh gets its configuration."""

    compat: Compat = "strict"
    """`envoy` switches off what meshsdk refuses although Envoy would take it."""
    unknown_fields: Literal["refuse", "warn"] = "refuse"
    """`warn`: for a control plane that is newer than this release."""
    http_filters: tuple[HttpFilterExtension | PlacedFilter, ...] = ()
    """Your own filters: an extension runs where the feed names its type URL, a `PlacedFilter` in
    every connection manager of its direction."""
    retry: RetryStrategy | None = None
    """When to try again, how often and after how long, in place of what the feed says; see
    `meshsdk.integrations.tenacity`. Circuit breakers, retry budget and deadline still hold."""
    retry_needs_idempotency_key: bool = False
    """Never retry a POST or PATCH that has no `Idempotency-Key`, whatever the feed says."""
    freeze_objects: bool = True
    """Call `gc.freeze` at the first start in a process: no pass of the garbage collector, nor the one
    at the end of a script, then walks the modules."""
    shown: Shown = SHOWN
    """Header fields and claims whose values records of decisions may show."""
    propagate_deadline: bool = True
    """Calls end when the request ends that they are made for, by its route's timeout and what its
    caller says of its own; they are never given more time by it."""
    propagate_context: bool = True
    """Calls take trace context (W3C, B3), baggage and request id of that request along, where they
    have none of their own."""
    metrics: Literal["feed", "always", "never"] = "feed"
    """Istio's metrics of calls: `feed`, where the control plane asks for them (`istio.stats`)."""
    access_log: bool = True
    """Write the access logs that the feed asks for."""
    access_log_files: bool | None = None
    """Also to files that it names, besides stdout and stderr. None: where the configuration is the
    application's own (`Mesh.static`); whoever names files for a process to append to owns it."""
    spans: bool = True
    """Make spans where an OpenTelemetry SDK is installed before the first call."""
    on_call: Callable[[SeenCall], None] | None = None
    """Called at the end of every call, its body too, in the thread or task that ends it: it must
    neither block nor keep what it is given."""
    emit: Emit = log
    clock: Clock = SystemClock()
    random: Random = SystemRandom()
    addresses: AddressMap = AS_THEY_ARE
    """Where addresses of the feed really are: for tests, and for meshes behind port forwards."""

    def __post_init__(self) -> None:
        """UsageError for a word that is none of those that an option has."""
        for name, expected in _WORDS.items():
            found = getattr(self, name)
            if found not in expected:
                told = f"expected one of {', '.join(expected)}, found {found!r}"
                raise UsageError(f"Options.{name}: {told}")
        for i, one in enumerate(self.http_filters):
            if not isinstance(one, PlacedFilter) and not hasattr(one, "type_urls"):
                told = f"expected a PlacedFilter or an HttpFilterExtension, found {one!r}"
                raise UsageError(f"Options.http_filters[{i}]: {told}")
