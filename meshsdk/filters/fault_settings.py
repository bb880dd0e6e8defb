"""The settings of the fault filter, and what request headers may ask of it.

Source: envoy.extensions.filters.http.fault.v3.HTTPFault; Envoy, fault_config.cc. Headers are not
trusted: of a repeated one the first counts, and no share exceeds the configured one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.message import Request
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.matching.fraction import NEVER, Fraction, parse_fraction
from meshsdk.matching.headers import HeaderMatcher, parse_header_matcher
from meshsdk.matching.octets import octets
from meshsdk.resources.route_facts import RouteFacts

TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.fault.v3.HTTPFault",
    {
        **honoured(
            "delay",
            "abort",
            "upstream_cluster",
            "headers",
            "downstream_nodes",
            "max_active_faults",
            "response_rate_limit",
            "delay_percent_runtime",
            "abort_percent_runtime",
            "delay_duration_runtime",
            "abort_http_status_runtime",
            "max_active_faults_runtime",
            "response_rate_limit_percent_runtime",
            "abort_grpc_status_runtime",
            "filter_metadata",
        ),
        "disable_downstream_cluster_stats": ignored("statistics"),
    },
)
ABORT: Final = MessageTable(
    "envoy.extensions.filters.http.fault.v3.FaultAbort",
    honoured("http_status", "grpc_status", "header_abort", "percentage", "response_body"),
)
DELAY: Final = MessageTable(
    "envoy.extensions.filters.common.fault.v3.FaultDelay",
    honoured("fixed_delay", "header_delay", "percentage"),
)
RATE_LIMIT: Final = MessageTable(
    "envoy.extensions.filters.common.fault.v3.FaultRateLimit",
    honoured("fixed_limit", "header_limit", "percentage"),
)
FIXED_LIMIT: Final = MessageTable(
    "envoy.extensions.filters.common.fault.v3.FaultRateLimit.FixedLimit", honoured("limit_kbps")
)
TABLES: Final = (TABLE, ABORT, DELAY, RATE_LIMIT, FIXED_LIMIT)
_INTEGER: Final = re.compile(r"[ \t\n\v\f\r]*\+?([0-9]{1,20})[ \t\n\v\f\r]*")
_MAX_UINT32: Final = 2**32 - 1
_MAX_UINT64: Final = 2**64 - 1
_MAX_BODY: Final = 4096  # FaultAbort.response_body, validate rule
_NODE: Final = "x-envoy-downstream-service-node"


def _asked(request: Request, name: str, at_most: int = _MAX_UINT64) -> int | None:
    """The number of a header; None where there is none."""
    found = request.headers.get(name)
    number = None if found is None else _INTEGER.fullmatch(found)
    return None if number is None or int(number[1]) > at_most else int(number[1])


@dataclass(frozen=True, slots=True)
class Share:
    """Which share of the calls; a header may ask for less."""

    fraction: Fraction
    header: str = ""

    def of(self, request: Request) -> Fraction:
        """The share as this call sees it."""
        asked = _asked(request, self.header, _MAX_UINT32) if self.header else None
        if asked is None:
            return self.fraction
        return Fraction(min(asked, self.fraction.numerator), self.fraction.denominator)


@dataclass(frozen=True, slots=True)
class Delay:
    """`fixed`, in milliseconds, or what the header asks for."""

    share: Share
    fixed: int | None

    def milliseconds(self, request: Request) -> int | None:
        """How long this call waits; None: not at all."""
        if self.fixed is not None:
            return self.fixed
        return _asked(request, "x-envoy-fault-delay-request")


@dataclass(frozen=True, slots=True)
class Abort:
    """A fixed status of one of two kinds, or what the headers ask for."""

    share: Share
    fixed_http: int | None
    fixed_grpc: int | None

    def http_status(self, request: Request) -> int | None:
        """The status for this call; it goes before a gRPC status."""
        if not self.share.header:
            return self.fixed_http
        asked = _asked(request, "x-envoy-fault-abort-request")
        return asked if asked is not None and 200 <= asked < 600 else None

    def grpc_status(self, request: Request) -> int | None:
        """The gRPC status for this call."""
        if not self.share.header:
            return self.fixed_grpc
        return _asked(request, "x-envoy-fault-abort-grpc-request")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Of the response body: `fixed`, in KiB per second, or what the header asks for."""

    share: Share
    fixed: int | None

    def kbps(self, request: Request) -> int | None:
        """KiB per second; None: unbounded."""
        if self.fixed is not None:
            return self.fixed
        return _asked(request, "x-envoy-fault-throughput-response") or None


@dataclass(frozen=True, slots=True)
class Keys:
    """Runtime keys."""

    delay_percent: str
    abort_percent: str
    delay_duration: str
    abort_http_status: str
    abort_grpc_status: str
    max_active_faults: str
    response_rate_limit_percent: str


@dataclass(frozen=True, slots=True)
class Settings:
    """A compiled HTTPFault."""

    keys: Keys
    delay: Delay | None
    abort: Abort | None
    abort_body: bytes
    response_rate_limit: RateLimit | None
    upstream_cluster: str
    downstream_nodes: frozenset[str]
    headers: tuple[HeaderMatcher, ...]
    max_active_faults: int | None
    """None: unbounded."""
    filter_metadata: Mapping[str, object]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is injected."""
        return self.delay is None and self.abort is None and self.response_rate_limit is None

    def concerns(self, request: Request, context: CallContext) -> bool:
        """Whether a call is one of those that faults are for."""
        if self.upstream_cluster and not (
            isinstance(context.route, RouteFacts) and context.cluster == self.upstream_cluster
        ):
            return False
        if self.downstream_nodes and request.headers.get(_NODE) not in self.downstream_nodes:
            return False
        return all(matcher.matches(request) for matcher in self.headers)


def parse_settings(reader: Reader) -> tuple[Settings, tuple[str, ...]]:
    """The settings, and what they ask for that does not exist."""
    missing = list(check(reader, TABLE))
    delay, abort = reader.message("delay"), reader.message("abort")
    limit = reader.message("response_rate_limit")
    for part, table in ((delay, DELAY), (abort, ABORT), (limit, RATE_LIMIT)):
        if part is not None:
            missing.extend(check(part, table))
    settings = Settings(
        _keys(reader),
        None if delay is None else _delay(delay),
        None if abort is None else _abort(abort),
        b"fault filter abort" if abort is None else _body(abort),
        None if limit is None else _rate_limit(limit),
        reader.string("upstream_cluster"),
        frozenset(octets(node) for node in reader.strings("downstream_nodes")),
        reader.each("headers", parse_header_matcher),
        reader.optional_integer("max_active_faults"),
        reader.struct("filter_metadata"),
    )
    return settings, tuple(missing)


def _keys(reader: Reader) -> Keys:
    def key(field: str, usual: str) -> str:
        return reader.string(field) or f"fault.http.{usual}"

    return Keys(
        key("delay_percent_runtime", "delay.fixed_delay_percent"),
        key("abort_percent_runtime", "abort.abort_percent"),
        key("delay_duration_runtime", "delay.fixed_duration_ms"),
        key("abort_http_status_runtime", "abort.http_status"),
        key("abort_grpc_status_runtime", "abort.grpc_status"),
        key("max_active_faults_runtime", "max_active_faults"),
        key("response_rate_limit_percent_runtime", "rate_limit.response_percent"),
    )


def _share(reader: Reader, header: str) -> Share:
    found = reader.message("percentage")
    return Share(NEVER if found is None else parse_fraction(found), header)


def _delay(reader: Reader) -> Delay:
    if reader.required("fixed_delay", "header_delay") == "header_delay":
        return Delay(_share(reader, "x-envoy-fault-delay-request-percentage"), None)
    seconds = reader.duration("fixed_delay")
    if seconds <= 0:
        raise reader.error_at("fixed_delay", f"expected more than 0s, found {seconds:g}s")
    return Delay(_share(reader, ""), int(seconds * 1000))


def _abort(reader: Reader) -> Abort:
    kind = reader.required("http_status", "grpc_status", "header_abort")
    if kind == "header_abort":
        return Abort(_share(reader, "x-envoy-fault-abort-request-percentage"), None, None)
    share = _share(reader, "")
    if kind == "grpc_status":
        return Abort(share, None, reader.integer("grpc_status", at_least=0))
    return Abort(share, reader.integer("http_status", at_least=200, at_most=599), None)


def _body(reader: Reader) -> bytes:
    text = reader.string("response_body")
    body = text.encode()
    if len(body) > _MAX_BODY:
        raise reader.error_at("response_body", f"expected at most {_MAX_BODY} octets")
    return body or b"fault filter abort"


def _rate_limit(reader: Reader) -> RateLimit:
    if reader.required("fixed_limit", "header_limit") == "header_limit":
        header = "x-envoy-fault-throughput-response-percentage"
        return RateLimit(_share(reader, header), None)
    fixed = reader.required_message("fixed_limit")
    check(fixed, FIXED_LIMIT)
    kbps = fixed.integer("limit_kbps", at_least=1)
    if not fixed.has("limit_kbps"):
        raise fixed.error_at("limit_kbps", "expected at least 1, found none")
    return RateLimit(_share(reader, ""), kbps)
