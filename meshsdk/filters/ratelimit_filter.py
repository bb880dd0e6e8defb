"""Asking a rate limit service about each call that has descriptors.

Source: Envoy, RateLimitFilter; observed with Envoy 1.40.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Flow, GrpcFetched
from meshsdk.call.endpoint import NO_METADATA
from meshsdk.call.filter import Continue, OnResponse, Step, Verdict
from meshsdk.call.headers import Headers, Pair
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.filters.ext_authz_answer import FRAMING, are_valid
from meshsdk.filters.ratelimit_headers import Status, parse_status, retry_after, x_ratelimit
from meshsdk.filters.side_service import GrpcService, text_of
from meshsdk.matching.fraction import ALWAYS, Fraction
from meshsdk.matching.octets import lower, octets
from meshsdk.resources.format_values import Values
from meshsdk.resources.header_mutations import NONE, HeaderMutations, append
from meshsdk.resources.rate_limit import Descriptor, RateLimit
from meshsdk.resources.route_facts import RouteFacts
from meshsdk.resources.substitution_format import Format

NAMESPACE: Final = "envoy.filters.http.ratelimit"
_SERVICE: Final = "envoy.service.ratelimit.v3.RateLimitService"
_METHOD: Final = "ShouldRateLimit"
_OVER: Final = "OVER_LIMIT"
_KEPT: Final = FRAMING | {"host"}
_RATELIMITED: Final = ("x-envoy-ratelimited", "true")


@dataclass(frozen=True, slots=True)
class Reply:
    """A RateLimitResponse."""

    is_over: bool
    statuses: tuple[Status, ...] = ()
    request_headers: tuple[Pair, ...] = ()
    response_headers: tuple[Pair, ...] = ()
    body: bytes = b""
    metadata: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class RateLimitService:
    """One config, or what a route made of it."""

    service: GrpcService
    domain: str
    stage: int = 0
    applies_to: Literal["both", "internal", "external"] = "both"
    rate_limits: tuple[RateLimit, ...] = ()
    """Instead of the route's."""
    virtual_host: str = "OVERRIDE"
    """vh_rate_limits: when the virtual host's rate limits count beside the route's."""
    enabled: Fraction = ALWAYS
    enforced: Fraction = ALWAYS
    denies_on_failure: Fraction | bool = False
    status: int = 429
    grpc_status: int | None = None
    status_on_error: int = 500
    response_headers: HeaderMutations = NONE
    """Of answers to calls over the limit."""
    x_ratelimit_headers: bool = False
    tells_limited: bool = True
    """Whether those have x-envoy-ratelimited."""
    retry_after: bool = False
    namespace: str = NAMESPACE
    runtime: Mapping[str, object] = field(default_factory=dict[str, object])

    def on_request(self, request: Request, context: CallContext) -> Step:
        """Ask, where the call has descriptors."""
        if not self.enabled.samples(context.random) or not self._applies(context):
            return Continue(request)
        descriptors = self._descriptors(request, context)
        return self._asked(descriptors, request, context) if descriptors else Continue(request)

    def _applies(self, context: CallContext) -> bool:
        if self.applies_to == "both":
            return True
        return context.is_internal == (self.applies_to == "internal")

    def _descriptors(self, request: Request, context: CallContext) -> list[Descriptor]:
        found = (limit.descriptor(request, context) for limit in self._limits(context.route))
        return [descriptor for descriptor in found if descriptor is not None]

    def _limits(self, route: object) -> list[RateLimit]:
        if not isinstance(route, RouteFacts):
            return []
        limits = self.rate_limits or route.rate_limits
        if not self.rate_limits:
            if route.include_virtual_host_rate_limits or self.virtual_host == "INCLUDE":
                limits = (*limits, *route.virtual_host_rate_limits)
            elif self.virtual_host == "OVERRIDE" and not limits:
                limits = route.virtual_host_rate_limits
        return [one for one in limits if one.stage == self.stage and not self._is_off(one)]

    def _is_off(self, limit: RateLimit) -> bool:
        """disable_key: off by the runtime layer."""
        key = limit.disable_key
        return bool(key) and self.runtime.get(f"ratelimit.{key}.http_filter_enabled") in (0, False)

    def _asked(
        self, descriptors: Sequence[Descriptor], request: Request, context: CallContext
    ) -> Flow[Verdict]:
        message = self._message(descriptors)
        fetched = yield self.service.fetch(_SERVICE, _METHOD, message)
        reply: Reply | None = None
        if isinstance(fetched, GrpcFetched) and not fetched.status:
            try:
                reply = reply_of(Reader(fetched.message, "rate_limit_response"))
            except ConfigError:
                reply = None
        if reply is None:
            return self._failure(request, context)
        for key, value in (reply.metadata or {}).items():
            context.metadata(self.namespace, key, value)
        fields = [*reply.response_headers]
        if reply.is_over and self.tells_limited:
            fields.append(_RATELIMITED)
        options = [descriptor.x_ratelimit_headers for descriptor in descriptors]
        fields += x_ratelimit(reply.statuses, options, default=self.x_ratelimit_headers)
        if reply.is_over and self.enforced.samples(context.random):
            return self._refusal(reply, fields, request, context)
        headers = request.headers
        for name, value in reply.request_headers:
            headers = append(headers, name, value)
        if headers is not request.headers:
            request = request.with_headers(headers)
        return Continue(request, _telling(fields))

    def _message(self, descriptors: Sequence[Descriptor]) -> dict[str, object]:
        return {
            "domain": text_of(self.domain),
            "descriptors": [self._descriptor(descriptor) for descriptor in descriptors],
        }

    def _descriptor(self, descriptor: Descriptor) -> dict[str, object]:
        entries = [{"key": text_of(k), "value": text_of(v)} for k, v in descriptor.entries]
        found: dict[str, object] = {"entries": entries}
        # Envoy counts more hits for the limits of filters alone, not for those of routes.
        if self.rate_limits and descriptor.hits != 1:
            found["hits_addend"] = descriptor.hits
        return found

    def _failure(self, request: Request, context: CallContext) -> Verdict:
        denies = self.denies_on_failure
        if not (denies if isinstance(denies, bool) else denies.samples(context.random)):
            return Continue(request)
        return LocalReply(self.status_on_error, flags=("RLSE",), details="rate_limiter_error")

    def _refusal(
        self, reply: Reply, fields: list[Pair], request: Request, context: CallContext
    ) -> LocalReply:
        if self.retry_after:
            fields.append(retry_after(reply.statuses))

        def modify(headers: Headers) -> Headers:
            if any(name == "content-type" for name, _ in fields):
                headers = headers.without("content-type")  # the service's own says what it sends
            metadata = context.route_metadata or NO_METADATA
            values = Values(context, request, Response(0), metadata, has_code=False)
            return _applied(self.response_headers, headers.plus(fields), values)

        return LocalReply(
            self.status,
            reply.body,
            flags=("RL",),
            details="request_rate_limited",
            grpc_status=self.grpc_status,
            modify=modify,
        )


def _applied(mutations: HeaderMutations, headers: Headers, values: Values) -> Headers:
    def render(text: Format, left: Headers) -> str:
        del left
        return text.render(values)

    return mutations.apply(headers, render)


def _telling(fields: Sequence[Pair]) -> OnResponse | None:
    if not fields:
        return None

    def on_response(response: Response, context: CallContext) -> Response:
        del context
        return response.with_headers(response.headers.plus(fields))

    return on_response


def reply_of(response: Reader) -> Reply:
    """What a RateLimitResponse says; an unknown code lets pass. ConfigError: it cannot be read."""
    return Reply(
        response.string("overall_code") == _OVER,
        response.each("statuses", parse_status),
        _sendable(response, "request_headers_to_add"),
        _sendable(response, "response_headers_to_add"),
        response.octets("raw_body"),
        response.struct("dynamic_metadata"),
    )


def _sendable(response: Reader, name: str) -> tuple[Pair, ...]:
    """Fields that can be sent: others are left out, where Envoy would split lines. A service of
    limits changes neither host nor path, nor where a message ends."""
    pairs = [_pair(header) for header in response.messages(name)]
    return tuple(pair for pair in pairs if pair[0] not in _KEPT and are_valid((pair,)))


def _pair(header: Reader) -> Pair:
    value = octets(header.string("value")) or header.octets("raw_value").decode("latin-1")
    return lower(octets(header.string("key"))), value
