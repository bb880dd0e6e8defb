"""The filter behind `jwt_authn`: rules, verdicts and what callers are told. Source: Envoy, Filter."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Effect, Flow
from meshsdk.call.filter import Continue, HttpFilter, Step, Verdict
from meshsdk.call.message import LocalReply, Request
from meshsdk.config.extension import Extensions, Override
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.filters import (
    jwt_authn_extractor,
    jwt_authn_provider,
    jwt_authn_remote,
    jwt_authn_requirement,
)
from meshsdk.filters.jwt_authn import NAMESPACE
from meshsdk.filters.jwt_authn_authenticator import Authenticator, Walk
from meshsdk.filters.jwt_authn_extractor import Extractor, make_extractor
from meshsdk.filters.jwt_authn_provider import Providers, parse_provider
from meshsdk.filters.jwt_authn_requirement import (
    AnyOf,
    Requirement,
    RequirementParser,
    parse_map,
)
from meshsdk.identity.jwt import Refused
from meshsdk.identity.jwt_status import JwtStatus
from meshsdk.matching.path import without_query
from meshsdk.resources.route_match import RouteMatch, parse_route_match

TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    {
        **honoured(
            "providers",
            "rules",
            "filter_state_rules",
            "bypass_cors_preflight",
            "requirement_map",
            "strip_failure_response",
        ),
        "stat_prefix": ignored("statistics"),
    },
    security=True,
)
RULE_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.RequirementRule",
    honoured("match", "requires", "requirement_name"),
    security=True,
)
FILTER_STATE_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.FilterStateRule",
    honoured("name", "requires"),
    security=True,
)
PER_ROUTE_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
    honoured("disabled", "requirement_name"),
    security=True,
)
TABLES: Final = (
    TABLE,
    RULE_TABLE,
    FILTER_STATE_TABLE,
    PER_ROUTE_TABLE,
    *jwt_authn_requirement.TABLES,
    *jwt_authn_provider.TABLES,
    *jwt_authn_extractor.TABLES,
    *jwt_authn_remote.TABLES,
)

_MATCHED: Final = (
    "prefix",
    "path",
    "safe_regex",
    "connect_matcher",
    "path_separated_prefix",
    "path_match_policy",
    "case_sensitive",
    "headers",
    "query_parameters",
)
"""What of a RouteMatch Envoy looks at here. A condition that it skips must not exempt a request."""
_REALM_PATH: Final = 256  # Envoy, MaximumUriLength
_DETAILS: Final = "jwt_authn_access_denied"
_AT_ONCE: Final = (Authenticator, AnyOf)
_UNAUTHENTICATED: Final = 16
_PERMISSION_DENIED: Final = 7


@dataclass(frozen=True, slots=True)
class Rule:
    """What requests of one kind must show; None: nothing."""

    match: RouteMatch
    requirement: Requirement | None


@dataclass(frozen=True, slots=True, eq=False)
class JwtAuthn:
    """The first rule that matches decides."""

    everything: Extractor
    """Of all providers: what callers send in the filter's own fields is dropped from each request."""
    rules: tuple[Rule, ...]
    named: Mapping[str, Requirement]
    """requirement_map."""
    filter_state: str = ""
    by_filter_state: Mapping[str, Requirement] | None = None
    bypass_cors_preflight: bool = False
    strip_failure_response: bool = False
    is_routed: bool = False
    """Whether the matched route says what is required."""
    route_requirement: Requirement | None = None
    refusal: str = ""
    """Why the route's requests cannot be judged."""

    def on_request(self, request: Request, context: CallContext) -> Step:
        """Continue, or 401 (403: another's audience); a flow only where keys must be fetched."""
        request = self.everything.sanitize(request)
        if self.bypass_cors_preflight and _is_preflight(request):
            return Continue(request)
        if self.refusal:
            return self._misconfigured()
        if self.is_routed:
            requirement = self.route_requirement
        else:
            requirement = self._requirement(request, context)
        if requirement is None:
            return Continue(request)
        walk = Walk(request, context)
        if isinstance(requirement, _AT_ONCE) and requirement.at_once(walk):
            return _passed(walk)
        flow = self._decide(requirement, walk)
        try:
            effect = next(flow)
        except StopIteration as done:
            verdict: Verdict = done.value
            return verdict
        return _resumed(flow, effect)

    def _requirement(self, request: Request, context: CallContext) -> Requirement | None:
        path = without_query(request.path)
        for rule in self.rules:
            if rule.match.matches(request, path, context, 0):
                return rule.requirement
        if self.by_filter_state is None:
            return None
        return self.by_filter_state.get(context.filter_state.get(self.filter_state, ""))

    def _decide(self, requirement: Requirement, walk: Walk) -> Flow[Verdict]:
        request = walk.request
        verdict = yield from requirement.run(walk)
        if verdict.status is JwtStatus.OK:
            return _passed(walk)
        _publish(walk)
        return self._refused(verdict, request)

    def _refused(self, verdict: Refused, request: Request) -> LocalReply:
        status = verdict.status
        is_audience = status is JwtStatus.AUDIENCE_NOT_ALLOWED
        reason = status.text.replace(" ", "_")
        details = f"{_DETAILS}{{{reason}}}"
        if verdict.rule:
            details = f"meshsdk_refused{{{verdict.rule}}}"
        challenge = f'Bearer realm="{_uri(request)}"'
        if status is not JwtStatus.MISSED:
            challenge += ', error="invalid_token"'
        return LocalReply(
            403 if is_audience else 401,
            b"" if self.strip_failure_response else status.text.encode(),
            () if self.strip_failure_response else (("www-authenticate", challenge),),
            details=details,
            grpc_status=_PERMISSION_DENIED if is_audience else _UNAUTHENTICATED,
        )

    def _misconfigured(self) -> LocalReply:
        body = f"Failed JWT authentication: {self.refusal}"
        return LocalReply(
            403,
            b"" if self.strip_failure_response else body.encode(),
            details=f"{_DETAILS}{{{self.refusal.replace(' ', '_')}}}",
            grpc_status=_PERMISSION_DENIED,
        )

    def for_route(self, name: str) -> "JwtAuthn":
        """The filter of a route that names its requirement."""
        if name in self.named:
            return replace(self, is_routed=True, route_requirement=self.named[name])
        known = ",".join(sorted(self.named))
        problem = f"Wrong requirement_name: {name}. It should be one of [{known}]"
        return replace(self, is_routed=True, refusal=problem)


def _passed(walk: Walk) -> Verdict:
    """What becomes of a request whose requirement is met."""
    _publish(walk)
    if walk.bad_header:
        return _bad_header(walk.bad_header)
    return Continue(walk.request, reroute=walk.reroute)


def _publish(walk: Walk) -> None:
    if walk.metadata:
        walk.context.dynamic_metadata.setdefault(NAMESPACE, {}).update(walk.metadata)


def _resumed(flow: Flow[Verdict], effect: Effect) -> Flow[Verdict]:
    """The rest of a flow whose first effect is known."""
    try:
        while True:
            try:
                reply = yield effect
            except GeneratorExit:
                raise
            except BaseException as error:
                effect = flow.throw(error)
            else:
                effect = flow.send(reply)
    except StopIteration as done:
        verdict: Verdict = done.value
        return verdict
    finally:
        flow.close()


def _is_preflight(request: Request) -> bool:
    """A CORS preflight carries no credentials. Repeated fields count joined, as in Envoy."""
    if request.method != "OPTIONS":
        return False
    headers = request.headers
    return bool(
        ",".join(headers.values("origin"))
        and ",".join(headers.values("access-control-request-method"))
    )


def _uri(request: Request) -> str:
    """What the caller asked for. Source: Envoy, Http::Utility::buildOriginalUri."""
    path = request.headers.get("x-envoy-original-path") or request.path
    scheme = request.headers.get("x-forwarded-proto") or request.scheme
    return f"{scheme}://{request.authority}{path[:_REALM_PATH]}"


def _bad_header(name: str) -> LocalReply:
    """Envoy's answer when a claim would put control characters into a field (threat model, H12)."""
    problem = f"invalid header value for: {name}"
    return LocalReply(
        503,
        problem.encode(),
        flags=("DPE",),
        details=f"filter_removed_required_request_headers{{{problem.replace(' ', '_')}}}",
    )


def parse(reader: Reader, extensions: Extensions) -> JwtAuthn:
    """The filter of a JwtAuthentication; without rules it does nothing."""
    check(reader, TABLE)
    providers = Providers.of(
        parse_provider(name, item, extensions) for name, item in reader.entries("providers")
    )
    parser = RequirementParser(providers, extensions.compat)
    named = parse_map(reader, "requirement_map", parser)
    rules = tuple(_rule(item, parser, named, extensions) for item in reader.messages("rules"))
    filter_state = reader.message("filter_state_rules")
    if filter_state is not None:
        check(filter_state, FILTER_STATE_TABLE)
    return JwtAuthn(
        make_extractor([provider.places for provider in providers.by_name.values()]),
        rules,
        named,
        "" if filter_state is None else filter_state.required_string("name"),
        None if filter_state is None else parse_map(filter_state, "requires", parser),
        reader.boolean("bypass_cors_preflight"),
        reader.boolean("strip_failure_response"),
    )


def _rule(
    reader: Reader,
    parser: RequirementParser,
    named: Mapping[str, Requirement],
    extensions: Extensions,
) -> Rule:
    check(reader, RULE_TABLE)
    match = reader.required_message("match")
    looked_at = {name: value for name, value in match.value.items() if name in _MATCHED}
    parsed = parse_route_match(Reader(looked_at, match.path), extensions)
    match reader.one_of("requires", "requirement_name"):
        case "requires":
            return Rule(parsed, parser.parse(reader.required_message("requires")))
        case "requirement_name":
            name = reader.required_string("requirement_name")
            if name not in named:
                known = ",".join(sorted(named))
                problem = f"Wrong requirement_name: {name}. It should be one of [{known}]"
                raise reader.error_at("requirement_name", problem)
            return Rule(parsed, named[name])
        case _:
            return Rule(parsed, None)


def parse_override(reader: Reader, _: Extensions) -> Override:
    """A route's own requirement, or none at all."""
    check(reader, PER_ROUTE_TABLE)
    kind = reader.required("disabled", "requirement_name")
    if kind == "disabled" and not reader.boolean("disabled"):
        raise reader.error_at("disabled", "expected true")
    name = "" if kind == "disabled" else reader.required_string("requirement_name")

    def override(whole: HttpFilter) -> HttpFilter:
        if not isinstance(whole, JwtAuthn):
            return whole
        return whole.for_route(name) if name else replace(whole, is_routed=True)

    return override
