"""envoy.filters.http.local_ratelimit: how many calls this process lets pass.

Source: Envoy, LocalRateLimitFilter. The buckets are in `local_rate_limiter`.
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.endpoint import NO_METADATA
from meshsdk.call.filter import Continue, HttpFilter, OnResponse, Verdict
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.config.extension import Extensions, HttpFilterExtension, Override
from meshsdk.config.fields import MessageTable, check, honoured, refused
from meshsdk.config.reader import Reader
from meshsdk.filters import local_rate_limiter, status_code, token_bucket
from meshsdk.filters.local_rate_limiter import Limiter, LimiterConfig, Outcome, parse_limiter
from meshsdk.filters.not_built import NotBuilt
from meshsdk.filters.status_code import parse_status
from meshsdk.filters.token_bucket import TokenBucket
from meshsdk.matching.fraction import NEVER, Fraction, parse_runtime_fraction
from meshsdk.resources.format_values import Values
from meshsdk.resources.header_mutations import (
    NONE,
    ONE_LINE,
    ONE_LINE_OF_RESPONSES,
    HeaderMutations,
    parse_header_addition,
)
from meshsdk.resources.rate_limit import Descriptor, RateLimit, parse_rate_limits
from meshsdk.resources.route_facts import RouteFacts
from meshsdk.resources.substitution_format import Format

TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    {
        **honoured(
            "stat_prefix",
            "status",
            "token_bucket",
            "filter_enabled",
            "filter_enforced",
            "request_headers_to_add_when_not_enforced",
            "response_headers_to_add",
            "descriptors",
            "stage",
            "local_rate_limit_per_downstream_connection",
            "enable_x_ratelimit_headers",
            "vh_rate_limits",
            "always_consume_default_token_bucket",
            "rate_limited_as_resource_exhausted",
            "rate_limits",
            "max_dynamic_descriptors",
            "enable_retry_after_header",
        ),
        "local_cluster_rate_limit": refused("no local cluster is known, so no share of its limit"),
    },
)
TABLES: Final = (TABLE, status_code.TABLE, token_bucket.TABLE, *local_rate_limiter.TABLES)
_TOO_MANY: Final = 429
_MAX_STAGE: Final = 10
_VIRTUAL_HOST: Final = {"OVERRIDE": "OVERRIDE", "INCLUDE": "INCLUDE", "IGNORE": "IGNORE"}
_X_RATELIMIT: Final = {"OFF": False, "DRAFT_VERSION_03": True}


@dataclass(frozen=True, slots=True)
class LocalRateLimit:
    """One config; its limiter is shared by all calls of the process that meet it."""

    limiter: Limiter
    enabled: Fraction
    enforced: Fraction
    status: int = _TOO_MANY
    grpc_status: int | None = None
    per_connection: bool = False
    stage: int = 0
    virtual_host: str = "OVERRIDE"
    """vh_rate_limits: when the virtual host's rate limits count beside the route's."""
    rate_limits: tuple[RateLimit, ...] = ()
    """Instead of the route's."""
    response_headers: HeaderMutations = NONE
    request_headers: HeaderMutations = NONE
    """Where a call is over the limit and passes."""
    x_ratelimit_headers: bool = False
    retry_after: bool = False

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        """Let pass, or answer 429."""
        if not self.enabled.samples(context.random):
            return Continue(request)
        now = context.clock.monotonic()
        limiter = self._limiter_of(context, now)
        outcome = limiter.admit(self._descriptors(request, context), now)
        if outcome.allowed:
            return Continue(request, self._telling(outcome))
        if self.enforced.samples(context.random):
            return self._refusal(outcome, request, context)
        values = Values(context, request, None, context.route_metadata or NO_METADATA)
        headers = _applied(self.request_headers, request.headers, values)
        return Continue(request.with_headers(headers), self._telling(outcome))

    def _limiter_of(self, context: CallContext, now: float) -> Limiter:
        if not self.per_connection:
            return self.limiter
        state = context.connection.state
        # Envoy keeps one limiter on a connection, whichever route made it.
        known = state.get(LocalRateLimit)
        if not isinstance(known, Limiter):
            known = state[LocalRateLimit] = Limiter(self.limiter.config, now)
        return known

    def _descriptors(self, request: Request, context: CallContext) -> list[Descriptor]:
        if not self.limiter.config.has_descriptors:
            return []
        limits = self.rate_limits or self._limits_of_route(context.route)
        found = (limit.descriptor(request, context) for limit in limits)
        return [descriptor for descriptor in found if descriptor is not None]

    def _limits_of_route(self, route: object) -> tuple[RateLimit, ...]:
        if not isinstance(route, RouteFacts):
            return ()
        limits = route.rate_limits
        if route.include_virtual_host_rate_limits or self.virtual_host == "INCLUDE":
            limits = (*limits, *route.virtual_host_rate_limits)
        elif self.virtual_host == "OVERRIDE" and not limits:
            limits = route.virtual_host_rate_limits
        return tuple(one for one in limits if one.stage == self.stage and not one.disable_key)

    def _tells(self, outcome: Outcome) -> TokenBucket | None:
        told = outcome.x_ratelimit_headers
        return outcome.bucket if (self.x_ratelimit_headers if told is None else told) else None

    def _telling(self, outcome: Outcome) -> OnResponse | None:
        bucket = self._tells(outcome)
        if bucket is None:
            return None

        def on_response(response: Response, context: CallContext) -> Response:
            now = context.clock.monotonic()
            return response.with_headers(response.headers.plus(_x_ratelimit(bucket, now)))

        return on_response

    def _refusal(self, outcome: Outcome, request: Request, context: CallContext) -> LocalReply:
        now = context.clock.monotonic()
        bucket = self._tells(outcome)

        def modify(headers: Headers) -> Headers:
            values = Values(
                context, request, Response(0), context.route_metadata or NO_METADATA, has_code=False
            )
            headers = _applied(self.response_headers, headers, values, ONE_LINE_OF_RESPONSES)
            if self.retry_after and outcome.bucket is not None:
                headers = headers.set("retry-after", str(outcome.bucket.next_token(now)))
            return headers if bucket is None else headers.plus(_x_ratelimit(bucket, now))

        return LocalReply(
            self.status,
            b"local_rate_limited",
            flags=("RL",),
            details="local_rate_limited",
            grpc_status=self.grpc_status,
            modify=modify,
        )


def _applied(
    mutations: HeaderMutations,
    headers: Headers,
    values: Values,
    one_line: frozenset[str] = ONE_LINE,
) -> Headers:
    def render(text: Format, left: Headers) -> str:
        del left
        return text.render(values)

    return mutations.apply(headers, render, one_line)


def _x_ratelimit(bucket: TokenBucket, now: float) -> tuple[tuple[str, str], ...]:
    return (
        ("x-ratelimit-limit", str(bucket.config.max_tokens)),
        ("x-ratelimit-remaining", str(bucket.remaining(now))),
        ("x-ratelimit-reset", str(bucket.next_token(now))),
    )


def parse(reader: Reader, extensions: Extensions) -> HttpFilter:
    """The filter of a LocalRateLimit; its buckets go on where the same config is sent again."""
    missing = list(check(reader, TABLE))
    reader.required_string("stat_prefix")
    config = parse_limiter(reader)
    rate_limits = parse_rate_limits(reader, extensions)
    response = HeaderMutations(reader.each("response_headers_to_add", parse_header_addition))
    request = HeaderMutations(
        reader.each("request_headers_to_add_when_not_enforced", parse_header_addition)
    )
    missing.extend(path for limit in rate_limits for path in limit.not_built)
    missing.extend((*response.not_built, *request.not_built))
    if missing:
        return NotBuilt(missing[0])
    # A status below 400 stays 429.
    status = parse_status(reader, "status", _TOO_MANY)
    exhausted = reader.boolean("rate_limited_as_resource_exhausted")
    return LocalRateLimit(
        _limiter(reader, config, extensions),
        _share(reader, "filter_enabled", extensions),
        _share(reader, "filter_enforced", extensions),
        status if status >= 400 else _TOO_MANY,
        8 if exhausted else None,
        reader.boolean("local_rate_limit_per_downstream_connection"),
        reader.integer("stage", at_least=0, at_most=_MAX_STAGE),
        reader.enum("vh_rate_limits", _VIRTUAL_HOST, "OVERRIDE"),
        rate_limits,
        response,
        request,
        reader.enum("enable_x_ratelimit_headers", _X_RATELIMIT, "OFF"),
        reader.boolean("enable_retry_after_header"),
    )


def _limiter(reader: Reader, config: LimiterConfig, extensions: Extensions) -> Limiter:
    return extensions.filter_states.keep(Limiter, reader.identity, lambda: Limiter(config))


def parse_override(reader: Reader, extensions: Extensions) -> Override:
    """A level's own limits instead of the filter's."""
    if not reader.has("token_bucket"):
        raise reader.error("local rate limit token bucket must be set for per filter configs")
    instead = parse(reader, extensions)

    def override(_: HttpFilter) -> HttpFilter:
        return instead

    return override


def _share(reader: Reader, name: str, extensions: Extensions) -> Fraction:
    found = reader.message(name)
    return NEVER if found is None else parse_runtime_fraction(found, extensions.runtime)


EXTENSION: Final = HttpFilterExtension(
    name="envoy.filters.http.local_ratelimit",
    type_urls=(
        "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    ),
    parse=parse,
    parse_override=parse_override,
)
