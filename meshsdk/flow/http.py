"""The HTTP connection manager's walk: the same for both directions and for `check`."""

from dataclasses import dataclass, replace

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Flow
from meshsdk.call.filter import OnResponse
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.filters import chain
from meshsdk.filters.chain import Bound, InForce
from meshsdk.flow import reply, wait
from meshsdk.flow.local_reply import Mutate, answer
from meshsdk.flow.plan import HttpPlan, Plan
from meshsdk.resources.local_reply import LocalReplies
from meshsdk.resources.snapshot import Absent
from meshsdk.routing.action import Chosen
from meshsdk.routing.canonical import canonicalize
from meshsdk.routing.table import RouteTable
from meshsdk.routing.upgrade import refuse_upgrade

_UNREAD = Request("", "", "")


@dataclass(slots=True)
class Routed:
    """The request may go on to where its route says."""

    request: Request
    chosen: Chosen
    on_response: list[OnResponse]


@dataclass(slots=True)
class Answered:
    """The mesh answers itself."""

    response: Response


def walk(
    plan: Plan, http: HttpPlan, request: Request, context: CallContext
) -> Flow[Routed | Answered]:
    """Canonical request, route, filters: up to the point where a cluster or the app takes over."""
    if context.original is None:
        context.original = request
    table = plan.routes(http)
    internal = table.config.internal_only_headers if isinstance(table, RouteTable) else ()
    canonical = canonicalize(request, http.hcm.options, context, internal)
    if isinstance(canonical, LocalReply):
        return Answered(_refused_early(canonical, plan, http, request, context))
    request = context.forwarded = canonical
    if http.hcm.not_built:
        return Answered(reply.to_response(reply.not_built(http.hcm.not_built[0]), request, context))
    chosen = table.choose(request, context) if isinstance(table, RouteTable) else None
    replies = http.hcm.local_replies

    if "upgrade" in request.headers or request.method == "CONNECT":
        refused = refuse_upgrade(request, http.hcm.options, chosen)
        if refused is not None:
            return Answered(answer(refused, request, context, replies))

    place = _Place(http, table, request, context, chosen)
    in_force = place.filters()
    outcome: chain.Passed | chain.Refused
    if in_force:
        outcome = yield from chain.run(in_force, request, context, place.rematch, place.bound)
        context.forwarded = outcome.request
        chosen = place.chosen
    else:
        outcome = chain.Passed(request, [])
    if isinstance(outcome, chain.Refused):
        mutate = _mutate_of(chosen)
        context.cluster_is_missing = mutate is not None and plan.cluster(context.cluster) is None
        response = answer(outcome.reply, outcome.request, context, replies, mutate)
        return Answered(unwind(response, outcome.on_response, context))
    if chosen is None:
        none = reply.NO_ROUTE if isinstance(table, RouteTable) else reply.NO_ROUTE_CONFIGURATION
        response = answer(none, outcome.request, context, replies)
        return Answered(unwind(response, outcome.on_response, context))
    return _routed(chosen, outcome, context, replies)


@dataclass(slots=True)
class _Place:
    """Where a request stands between routes and filters: filters may have it matched again."""

    http: HttpPlan
    table: RouteTable | Absent | None
    request: Request
    context: CallContext
    chosen: Chosen | None

    def filters(self) -> tuple[InForce, ...]:
        """Those in force on the route."""
        chosen = self.chosen
        return self.http.filters if chosen is None else self.http.filters_for(chosen.overrides)

    def rematch(self, changed: Request) -> tuple[InForce, ...]:
        """Match a request that a filter changed."""
        table = self.table
        self.chosen = table.choose(changed, self.context) if isinstance(table, RouteTable) else None
        return self.filters()

    def bound(self) -> Bound | None:
        """Until when a filter may wait."""
        return wait.in_filters(self.http.hcm.options, self.chosen, self.request, self.context)


def _refused_early(
    local: LocalReply, plan: Plan, http: HttpPlan, request: Request, context: CallContext
) -> Response:
    """A refusal before routing. Envoy looks for a route all the same, to mutate the answer, where
    the caller has said the scheme of its own request (RouteConfigImpl::route)."""
    context.remote = context.connection.peer.connection
    flags: tuple[str, ...] = ()
    if local.details.startswith("http1."):
        # Envoy's codec has let nothing out, and tells its flag only afterwards.
        request = context.original = context.forwarded = _UNREAD
        flags, local = local.flags, replace(local, flags=())
    else:
        location = next((value for name, value in local.headers if name == "location"), None)
        context.forwarded = request if location is None else replace(request, path=location)
    seen = context.forwarded
    chosen: Chosen | None = None
    table = plan.routes(http)
    if "x-forwarded-proto" in request.headers and isinstance(table, RouteTable):
        chosen = table.choose(seen, context)
        context.forwarded = seen
        context.cluster_is_missing = plan.cluster(context.cluster) is None
    response = answer(local, request, context, http.hcm.local_replies, _mutate_of(chosen))
    filters = http.filters if chosen is None else http.filters_for(chosen.overrides)
    response = unwind(response, list(chain.unasked(filters)), context)
    context.cluster = ""
    for flag in flags:
        context.flag(flag)
    return response


def _mutate_of(chosen: Chosen | None) -> Mutate | None:
    """What a route that leads somewhere does to answers given before it was followed."""
    return None if chosen is None or chosen.reply is not None else chosen.on_reply


def _routed(
    chosen: Chosen, passed: chain.Passed, context: CallContext, replies: LocalReplies | None
) -> Routed | Answered:
    """What the router filter does before it looks for a host."""
    request = passed.request
    if chosen.not_built:
        response = reply.to_response(reply.not_built(chosen.not_built[0]), request, context)
    elif chosen.reply is not None:
        if chosen.reply_path:
            context.forwarded = replace(request, path=chosen.reply_path)
        response = answer(chosen.reply, request, context, replies, chosen.on_reply)
    elif not (request.method and request.path) and (lacking := reply.incomplete(request)):
        response = answer(lacking, request, context, replies, chosen.on_reply)
    else:
        return Routed(request, chosen, passed.on_response)
    return Answered(unwind(response, passed.on_response, context))


def unwind(response: Response, on_response: list[OnResponse], context: CallContext) -> Response:
    """Let the filters see the answer, last first."""
    for see in reversed(on_response):
        response = see(response, context)
        if not response.status:
            # Envoy ends the response here: the filters before this one do not see it.
            assert context.forwarded is not None
            return reply.to_response(reply.NO_STATUS, context.forwarded, context)
    return response
