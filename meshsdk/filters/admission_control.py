"""envoy.filters.http.admission_control: calls are refused as far as those before them failed.

Source: Envoy, AdmissionControlFilter; "Client-side throttling" of the SRE book. Envoy counts in
each worker thread, this library in the process.
"""

from collections import deque
from dataclasses import dataclass
from threading import Lock
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.filter import Continue, Verdict
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, LocalReply, Request, Response
from meshsdk.config.extension import Extensions, HttpFilterExtension
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.filters import runtime_values as runtime
from meshsdk.filters.not_built import INERT, Inert

TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.admission_control.v3.AdmissionControl",
    honoured(
        "enabled",
        "success_criteria",
        "sampling_window",
        "aggression",
        "sr_threshold",
        "rps_threshold",
        "max_rejection_probability",
    ),
)
CRITERIA: Final = MessageTable(
    f"{TABLE.message}.SuccessCriteria", honoured("http_criteria", "grpc_criteria")
)
HTTP: Final = MessageTable(f"{CRITERIA.message}.HttpCriteria", honoured("http_success_status"))
GRPC: Final = MessageTable(f"{CRITERIA.message}.GrpcCriteria", honoured("grpc_success_status"))
RANGE: Final = MessageTable("envoy.type.v3.Int32Range", honoured("start", "end"))
TABLES: Final = (TABLE, CRITERIA, HTTP, GRPC, RANGE, *runtime.TABLES)
_DENIED: Final = LocalReply(503, details="denied_by_admission_control")
_GRANULARITY: Final = 1.0
_HTTP_DEFAULT: Final[tuple[tuple[int, int], ...]] = ((100, 500),)
# OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, UNAUTHENTICATED,
# FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED.
_GRPC_DEFAULT: Final = frozenset({0, 1, 2, 3, 5, 6, 9, 11, 12, 16})
_MAX_GRPC: Final = 16


class Window:
    """How many calls there were of late, and how many succeeded."""

    __slots__ = ("_data", "_lock", "_seconds", "requests", "successes")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = Lock()
        self._data: deque[list[float]] = deque()
        self.requests = 0
        self.successes = 0

    def record(self, now: float, *, success: bool) -> None:
        """Count a call."""
        with self._lock:
            self._forget(now)
            data = self._data
            if not data or now - data[-1][0] >= _GRANULARITY:
                data.append([now, 0, 0])
            data[-1][1] += 1
            self.requests += 1
            if success:
                data[-1][2] += 1
                self.successes += 1

    def counts(self, now: float) -> tuple[int, int, float]:
        """Calls, successes, calls per second."""
        with self._lock:
            self._forget(now)
            if not self.requests:
                return 0, 0, 0.0
            seconds = max(_GRANULARITY, float(int(now - self._data[0][0])))
            return self.requests, self.successes, self.requests / seconds

    def _forget(self, now: float) -> None:
        data = self._data
        while data and now - data[0][0] >= self._seconds:
            _, requests, successes = data.popleft()
            self.requests -= int(requests)
            self.successes -= int(successes)


@dataclass(frozen=True, slots=True)
class AdmissionControl:
    """How much failure is borne."""

    window: Window
    http_success: tuple[tuple[int, int], ...] = _HTTP_DEFAULT
    """Ranges of status codes, the end excluded."""
    grpc_success: frozenset[int] = _GRPC_DEFAULT
    aggression: float = 1.0
    threshold: float = 0.95
    rps_threshold: int = 0
    max_rejection: float = 0.8

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        """503 with the probability that the failures of late call for."""
        total, successes, rps = self.window.counts(context.clock.monotonic())
        if rps >= self.rps_threshold and self._rejects(total, successes, context):
            return _DENIED
        return Continue(request, self._judge)

    def _rejects(self, total: int, successes: int, context: CallContext) -> bool:
        probability = max(0.0, (total - successes / self.threshold) / (total + 1))
        if self.aggression != 1.0:
            probability = probability ** (1.0 / self.aggression)
        return context.random.random() < min(probability, self.max_rejection)

    def _judge(self, response: Response, context: CallContext) -> Response:
        status = _grpc_status(response.headers)
        content_type = response.headers.get("content-type") or ""
        if response.status == 200 and content_type.startswith("application/grpc"):
            if status is None:
                context.at_end.append(lambda end: self._judge_trailers(end, context))
            else:
                self._record(context, status in self.grpc_success)
        else:
            success = any(start <= response.status < end for start, end in self.http_success)
            self._record(context, success)
        return response

    def _judge_trailers(self, end: BodyEnd | None, context: CallContext) -> None:
        """A call that broke off before its trailers counts for nothing."""
        if end is not None and end.trailers is not None:
            self._record(context, _grpc_status(end.trailers) in self.grpc_success)

    def _record(self, context: CallContext, success: bool) -> None:
        self.window.record(context.clock.monotonic(), success=success)


def _grpc_status(headers: Headers) -> int | None:
    found = headers.get("grpc-status")
    if found is None:
        return None
    return int(found) if found.isascii() and found.isdigit() else -1


def parse(reader: Reader, extensions: Extensions) -> AdmissionControl | Inert:
    """The filter of an AdmissionControl."""
    check(reader, TABLE)
    layer = extensions.runtime
    http, grpc = _criteria(reader)
    seconds = reader.duration("sampling_window", 30.0)
    if not runtime.runtime_flag(reader, "enabled", layer, default=True):
        return INERT
    threshold = runtime.runtime_percent(reader, "sr_threshold", layer, 95.0)
    rejection = runtime.runtime_percent(reader, "max_rejection_probability", layer, 80.0)
    return AdmissionControl(
        extensions.filter_states.keep(Window, reader.identity, lambda: Window(seconds)),
        http,
        grpc,
        max(1.0, runtime.runtime_double(reader, "aggression", layer, 1.0)),
        min(100.0, max(1.0, threshold)) / 100.0,
        runtime.runtime_uint32(reader, "rps_threshold", layer, 0),
        min(100.0, rejection) / 100.0,
    )


def _criteria(reader: Reader) -> tuple[tuple[tuple[int, int], ...], frozenset[int]]:
    found = reader.required_message("success_criteria")
    check(found, CRITERIA)
    http, grpc = _HTTP_DEFAULT, _GRPC_DEFAULT
    given = found.message("http_criteria")
    if given is not None:
        check(given, HTTP)
        http = given.each("http_success_status", _range, at_least=1)
    given = found.message("grpc_criteria")
    if given is not None:
        check(given, GRPC)
        grpc = frozenset(given.integers("grpc_success_status"))
        if not grpc or not all(0 <= code <= _MAX_GRPC for code in grpc):
            raise given.error_at("grpc_success_status", "expected gRPC codes")
    return http, grpc


def _range(reader: Reader) -> tuple[int, int]:
    check(reader, RANGE)
    start, end = reader.integer("start"), reader.integer("end")
    if not 100 <= start <= end <= 600:
        raise reader.error(f"invalid HTTP range: [{start}, {end})")
    return start, end


EXTENSION: Final = HttpFilterExtension(
    name="envoy.filters.http.admission_control",
    type_urls=(
        "type.googleapis.com/envoy.extensions.filters.http.admission_control.v3.AdmissionControl",
    ),
    parse=parse,
)
