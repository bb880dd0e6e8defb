"""RetryPolicy: when and how a failed attempt is repeated. Routes and virtual hosts carry it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built
from meshsdk.config.reader import Reader
from meshsdk.matching.headers import HeaderMatcher, parse_header_matcher

HTTP_CONDITIONS: Final = frozenset(
    {
        "5xx",
        "gateway-error",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "reset",
        "reset-before-request",
        "http3-post-connect-failure",
    }
)
GRPC_CONDITIONS: Final = frozenset(
    {"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
)
DEFAULT_BASE_INTERVAL: Final = 0.025  # Envoy: upstream.base_retry_backoff_ms
_MAX_INTERVAL_FACTOR: Final = 10  # RetryBackOff.max_interval
_DEFAULT_MAX_RESET: Final = 300.0  # RateLimitedRetryBackOff.max_interval

_POLICY: Final = MessageTable(
    "envoy.config.route.v3.RetryPolicy",
    honoured(
        "retry_on",
        "num_retries",
        "per_try_timeout",
        "per_try_idle_timeout",
        "retry_priority",
        "retry_host_predicate",
        "host_selection_retry_max_attempts",
        "retriable_status_codes",
        "retry_back_off",
        "rate_limited_retry_back_off",
        "retriable_headers",
        "retriable_request_headers",
    )
    | {
        "retry_options_predicates": not_built("predicates that change connection options"),
        "refresh_cluster_on_retry": not_built("another cluster for each retry"),
    },
)
_BACK_OFF: Final = MessageTable(
    "envoy.config.route.v3.RetryPolicy.RetryBackOff", honoured("base_interval", "max_interval")
)
_RATE_LIMITED: Final = MessageTable(
    "envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff",
    honoured("reset_headers", "max_interval"),
)
_HEDGE: Final = MessageTable(
    "envoy.config.route.v3.HedgePolicy",
    {
        **honoured("hedge_on_per_try_timeout"),
        "initial_requests": ignored("Envoy implements no other number than 1"),
        "additional_request_chance": ignored("Envoy does not implement it"),
    },
)
_EXTENSION: Final = MessageTable(
    "envoy.config.route.v3.RetryPolicy.RetryHostPredicate", honoured("name", "typed_config")
)
_PREVIOUS_PRIORITIES: Final = MessageTable(
    "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
    honoured("update_frequency"),
)
_OMIT_METADATA: Final = MessageTable(
    "envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig",
    honoured("metadata_match"),
)
TABLES: Final = (
    _POLICY,
    _BACK_OFF,
    _RATE_LIMITED,
    _HEDGE,
    _EXTENSION,
    _PREVIOUS_PRIORITIES,
    _OMIT_METADATA,
)

_PREVIOUS_HOSTS_URL: Final = (
    "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
)
_OMIT_CANARY_URL: Final = (
    "type.googleapis.com/envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate"
)
_OMIT_METADATA_URL: Final = (
    "type.googleapis.com/envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig"
)
_PREVIOUS_PRIORITIES_URL: Final = (
    "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3"
    ".PreviousPrioritiesConfig"
)
ResetFormat = Literal["SECONDS", "UNIX_TIMESTAMP"]


@dataclass(frozen=True, slots=True)
class ResetHeader:
    """A response field that says when to come back."""

    name: str
    format: ResetFormat


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How attempts are repeated; seconds throughout."""

    retry_on: frozenset[str] = frozenset()
    """Known conditions of both kinds; unknown words are dropped, as Envoy drops them."""
    num_retries: int = 1
    per_try_timeout: float = 0.0
    """0: none."""
    per_try_idle_timeout: float = 0.0
    """0: none."""
    base_interval: float = DEFAULT_BASE_INTERVAL
    max_interval: float = DEFAULT_BASE_INTERVAL * _MAX_INTERVAL_FACTOR
    reset_headers: tuple[ResetHeader, ...] = ()
    reset_max_interval: float = _DEFAULT_MAX_RESET
    retriable_status_codes: tuple[int, ...] = ()
    retriable_headers: tuple[HeaderMatcher, ...] = field(default=(), compare=False)
    retriable_request_headers: tuple[HeaderMatcher, ...] = field(default=(), compare=False)
    omit_previous_hosts: bool = False
    omit_canary_hosts: bool = False
    omit_host_metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    """Hosts whose `envoy.lb` metadata has all of these are not tried again; empty: none."""
    host_selection_retry_max_attempts: int = 1
    previous_priorities: int = 0
    """update_frequency of the retry priority `previous_priorities`; 0: not configured."""
    not_built: tuple[str, ...] = ()


NO_RETRIES: Final = RetryPolicy()


def parse_retry_on(text: str, known: frozenset[str]) -> frozenset[str]:
    """The known conditions in a comma-separated list."""
    return frozenset(word for part in text.split(",") if (word := part.strip(" \t")) in known)


def parse_retry_policy(reader: Reader) -> RetryPolicy:
    """A route's or virtual host's retry policy."""
    missing = list(check(reader, _POLICY))
    retry_on = reader.string("retry_on")
    base, top = _back_off(reader)
    reset_headers, reset_max = _rate_limited(reader)
    canary, previous, metadata = _host_predicates(reader, missing)
    return RetryPolicy(
        retry_on=parse_retry_on(retry_on, HTTP_CONDITIONS | GRPC_CONDITIONS),
        num_retries=reader.integer("num_retries", 1, at_least=0),
        per_try_timeout=_not_negative(reader, "per_try_timeout"),
        per_try_idle_timeout=_not_negative(reader, "per_try_idle_timeout"),
        base_interval=base,
        max_interval=top,
        reset_headers=reset_headers,
        reset_max_interval=reset_max,
        retriable_status_codes=reader.integers("retriable_status_codes"),
        retriable_headers=reader.each("retriable_headers", parse_header_matcher),
        retriable_request_headers=reader.each("retriable_request_headers", parse_header_matcher),
        omit_previous_hosts=previous,
        omit_canary_hosts=canary,
        omit_host_metadata=metadata,
        # Envoy takes an explicit 0 for unset: the proto field is a plain int64.
        host_selection_retry_max_attempts=max(
            1, reader.integer("host_selection_retry_max_attempts")
        ),
        previous_priorities=_retry_priority(reader),
        not_built=tuple(missing),
    )


def _not_negative(reader: Reader, name: str) -> float:
    seconds = reader.duration(name)
    if seconds < 0:
        raise reader.error_at(name, f"expected at least 0s, found {seconds:g}s")
    return seconds


def _back_off(policy: Reader) -> tuple[float, float]:
    reader = policy.message("retry_back_off")
    if reader is None:
        return DEFAULT_BASE_INTERVAL, DEFAULT_BASE_INTERVAL * _MAX_INTERVAL_FACTOR
    check(reader, _BACK_OFF)
    base = reader.optional_duration("base_interval")
    if base is None or base <= 0:
        raise reader.error_at("base_interval", "expected a duration above 0s")
    base = max(base, 0.001)  # RetryBackOff: less than 1 ms counts as 1 ms
    top = reader.optional_duration("max_interval")
    if top is None:
        return base, base * _MAX_INTERVAL_FACTOR
    if top <= 0:
        raise reader.error_at("max_interval", "expected a duration above 0s")
    top = max(top, 0.001)
    if top < base:
        raise reader.error_at(
            "max_interval", f"expected at least base_interval ({base:g}s), found {top:g}s"
        )
    return base, top


def _rate_limited(policy: Reader) -> tuple[tuple[ResetHeader, ...], float]:
    reader = policy.message("rate_limited_retry_back_off")
    if reader is None:
        return (), _DEFAULT_MAX_RESET
    check(reader, _RATE_LIMITED)
    headers = tuple(
        ResetHeader(
            item.required_string("name").lower(),
            item.enum(
                "format", {"SECONDS": "SECONDS", "UNIX_TIMESTAMP": "UNIX_TIMESTAMP"}, "SECONDS"
            ),
        )
        for item in reader.messages("reset_headers", at_least=1)
    )
    top = reader.duration("max_interval", _DEFAULT_MAX_RESET)
    if top <= 0:
        raise reader.error_at("max_interval", "expected a duration above 0s")
    return headers, top


def _host_predicates(policy: Reader, missing: list[str]) -> tuple[bool, bool, Mapping[str, object]]:
    canary = previous = False
    metadata: Mapping[str, object] = {}
    for item in policy.messages("retry_host_predicate"):
        url = _extension_url(item)
        if url == _PREVIOUS_HOSTS_URL:
            previous = True
        elif url == _OMIT_CANARY_URL:
            canary = True
        elif url == _OMIT_METADATA_URL:
            metadata = _omitted_metadata(item)
        else:
            raise item.error_at("name", f"no retry host predicate takes {url}")
    return canary, previous, metadata


def _extension_url(item: Reader) -> str:
    check(item, _EXTENSION)
    name = item.required_string("name")
    config = item.typed("typed_config")
    return name if config is None else config.type_url


def _omitted_metadata(item: Reader) -> Mapping[str, object]:
    config = item.required_message("typed_config")
    check(config, _OMIT_METADATA)
    match = config.message("metadata_match")
    if match is None:
        return {}
    found = dict(match.entries("filter_metadata")).get("envoy.lb")
    return {} if found is None else found.value


def _retry_priority(policy: Reader) -> int:
    item = policy.message("retry_priority")
    if item is None:
        return 0
    url = _extension_url(item)
    if url != _PREVIOUS_PRIORITIES_URL:
        raise item.error_at("name", f"no retry priority takes {url}")
    config = item.required_message("typed_config")
    check(config, _PREVIOUS_PRIORITIES)
    frequency = config.integer("update_frequency")
    if frequency <= 0:
        raise config.error_at("update_frequency", f"expected above 0, found {frequency}")
    return frequency


@dataclass(frozen=True, slots=True)
class HedgePolicy:
    """Whether a try that ran out of time goes on while the next one runs."""

    hedge_on_per_try_timeout: bool = False
    not_built: tuple[str, ...] = ()


def parse_hedge_policy(reader: Reader) -> HedgePolicy:
    """A route's or virtual host's hedge policy."""
    missing = check(reader, _HEDGE)
    if reader.has("initial_requests") and reader.integer("initial_requests") < 1:
        raise reader.error_at("initial_requests", "expected at least 1")
    return HedgePolicy(reader.boolean("hedge_on_per_try_timeout"), missing)
