"""envoy.filters.http.fault: delays and aborts injected into a share of the calls.

Source: Envoy, FaultFilter. Its settings are parsed in `fault_settings`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Flow, Sleep
from meshsdk.call.filter import Continue, HttpFilter, Step, Verdict
from meshsdk.call.message import BodyEnd, LocalReply, Request
from meshsdk.config.extension import Extensions, FilterStates, HttpFilterExtension, Override
from meshsdk.config.reader import Reader
from meshsdk.filters import fault_settings
from meshsdk.filters.fault_settings import Settings, parse_settings
from meshsdk.filters.not_built import INERT, NotBuilt
from meshsdk.matching.fraction import Fraction, runtime_fraction, runtime_integer

NAMESPACE: Final = "envoy.filters.http.fault"
TABLES: Final = fault_settings.TABLES
_NO_SUCH_LIMIT: Final = NotBuilt("response_rate_limit of the fault filter (here)")
_UNBOUNDED: Final = 1 << 63
_KEY: Final = "fault.http"
_OF_CLUSTER: Final = "x-envoy-downstream-service-cluster"


@dataclass(slots=True, eq=False)
class ActiveFaults:
    """Calls of a listener that suffer a fault now. Under the GIL `+= 1` is not interrupted."""

    count: int = 0


@dataclass(slots=True, eq=False)
class Charge:
    """One call's part in the count: one, whatever befalls it."""

    active: ActiveFaults
    limit: int
    is_counted: bool = False

    def take(self, context: CallContext) -> bool:
        """Count the call until it is over; False: there are as many as may be."""
        if self.is_counted:
            return True
        if self.active.count >= self.limit:
            return False
        self.active.count += 1
        self.is_counted = True
        context.at_end.append(self._give_back)
        return True

    def _give_back(self, _: BodyEnd | None) -> None:
        self.active.count -= 1


@dataclass(frozen=True, slots=True)
class Fault:
    """The settings in force: a route's replace the listener's as a whole."""

    settings: Settings
    states: FilterStates
    runtime: Mapping[str, object] | None = None

    def on_request(self, request: Request, context: CallContext) -> Step:
        """Delay, then abort, each with its own chance."""
        settings = self.settings
        if not settings.concerns(request, context):
            return Continue(request)
        draw = _Draw(settings, self.runtime, request, context)
        limit = runtime_integer(
            self.runtime,
            settings.keys.max_active_faults,
            _UNBOUNDED if settings.max_active_faults is None else settings.max_active_faults,
        )
        active = self.states.keep(ActiveFaults, context.listener, ActiveFaults)
        charge = Charge(active, limit)
        rate = draw.response_rate()
        if rate and charge.take(context):
            if not context.can_pace:
                return _NO_SUCH_LIMIT.on_request(request, context)
            context.response_rate = rate
        delay = draw.delay()
        if delay and charge.take(context):
            self._publish(context)
            context.flag("DI")
            return self._delayed(delay, draw, charge)
        return self._abort(draw, charge) or Continue(request)

    def _delayed(self, seconds: float, draw: "_Draw", charge: Charge) -> Flow[Verdict]:
        yield Sleep(seconds)
        return self._abort(draw, charge) or Continue(draw.request)

    def _abort(self, draw: "_Draw", charge: Charge) -> LocalReply | None:
        found = draw.abort()
        if found is None or not charge.take(draw.context):
            return None
        self._publish(draw.context)
        status, grpc_status = found
        return LocalReply(
            status,
            self.settings.abort_body,
            flags=("FI",),
            details="fault_filter_abort",
            grpc_status=grpc_status,
        )

    def _publish(self, context: CallContext) -> None:
        for key, value in self.settings.filter_metadata.items():
            context.metadata(NAMESPACE, key, value)


@dataclass(slots=True)
class _Draw:
    """What befalls one call. The runtime layer has the last word, a key of the caller's own
    cluster before the general one."""

    settings: Settings
    runtime: Mapping[str, object] | None
    request: Request
    context: CallContext

    def delay(self) -> float:
        """Seconds; 0: none."""
        delay = self.settings.delay
        keys = self.settings.keys
        if delay is None:
            return 0.0
        key = self._key(keys.delay_percent, "delay.fixed_delay_percent")
        if not self._samples(key, delay.share.of(self.request)):
            return 0.0
        asked = delay.milliseconds(self.request)
        if asked is None:
            return 0.0
        asked = runtime_integer(self.runtime, keys.delay_duration, asked)
        own = self._own("delay.fixed_duration_ms")
        return max(0, runtime_integer(self.runtime, own, asked) if own else asked) / 1000.0

    def abort(self) -> tuple[int, int | None] | None:
        """HTTP and gRPC status; None: none."""
        abort = self.settings.abort
        keys = self.settings.keys
        if abort is None:
            return None
        key = self._key(keys.abort_percent, "abort.abort_percent")
        if not self._samples(key, abort.share.of(self.request)):
            return None
        status = abort.http_status(self.request)
        if status is not None:
            return self._status(status, keys.abort_http_status, "abort.http_status"), None
        status = abort.grpc_status(self.request)
        if status is None:
            return None
        return 200, self._status(status, keys.abort_grpc_status, "abort.grpc_status")

    def response_rate(self) -> int:
        """KiB of the response's body a second; 0: unbounded."""
        limit = self.settings.response_rate_limit
        if limit is None:
            return 0
        share = limit.share.of(self.request)
        if not self._samples(self.settings.keys.response_rate_limit_percent, share):
            return 0
        return limit.kbps(self.request) or 0

    def _status(self, status: int, key: str, own_key: str) -> int:
        own = self._own(own_key)
        return runtime_integer(self.runtime, own or key, status)

    def _own(self, key: str) -> str:
        """The key for the caller's own cluster; empty where it names none."""
        cluster = self.request.headers.get(_OF_CLUSTER)
        return "" if cluster is None else f"{_KEY}.{cluster}.{key}"

    def _key(self, key: str, own_key: str) -> str:
        return self._own(own_key) or key

    def _samples(self, key: str, share: Fraction) -> bool:
        return runtime_fraction(self.runtime, key, share).samples(self.context.random)


def parse(reader: Reader, extensions: Extensions) -> HttpFilter:
    """The filter of an HTTPFault; one that injects nothing has no effect."""
    settings, missing = parse_settings(reader)
    if missing:
        return NotBuilt(missing[0])
    if settings.is_empty:
        return INERT
    return Fault(settings, extensions.filter_states, extensions.runtime)


def parse_override(reader: Reader, extensions: Extensions) -> Override:
    """A level's settings instead of the filter's."""
    instead = parse(reader, extensions)

    def override(_: HttpFilter) -> HttpFilter:
        return instead

    return override


EXTENSION: Final = HttpFilterExtension(
    name=NAMESPACE,
    type_urls=("type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",),
    parse=parse,
    parse_override=parse_override,
)
