"""What a matched route means for one call: `Chosen`.

Nearly all of it is known when the table is built, so that a call to a plain route makes nothing:
`Choices` holds one `Chosen` per route and weighted cluster.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.endpoint import NO_METADATA
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.config.extension import Override
from meshsdk.resources.filter_overrides import NO_OVERRIDES, Overrides
from meshsdk.resources.hash_policy import HashPolicy
from meshsdk.resources.header_mutations import HeaderMutations
from meshsdk.resources.metadata import Criteria, Metadata
from meshsdk.resources.path_rewrite import HostOfEndpoint, HostRewrite, PathRewrite
from meshsdk.resources.retry_policy import HedgePolicy, RetryPolicy
from meshsdk.resources.route import NonForwarding, Route
from meshsdk.resources.route_action import (
    MaxStreamDuration,
    MirrorPolicy,
    Priority,
    RouteAction,
)
from meshsdk.resources.route_configuration import RouteConfiguration
from meshsdk.resources.route_cors import FILTER
from meshsdk.resources.route_facts import NO_FACTS, RouteFacts
from meshsdk.resources.route_match import RouteMatch
from meshsdk.resources.virtual_host import VirtualHost
from meshsdk.resources.weighted_cluster import ClusterWeight, WeightedCluster
from meshsdk.routing.hash import hash_of, with_cookies
from meshsdk.routing.headers import in_order, mutate_request, mutate_response
from meshsdk.routing.rewrite import rewrite_host, rewrite_path

_MAX_UINT64: Final = 2**64


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Where a call goes and how: a cluster, or an answer of the mesh itself (`reply`)."""

    virtual_host: str
    route_name: str
    match: RouteMatch
    cluster: str = ""
    """Empty with a reply, with `non_forwarding`, and where the field that names it is missing."""
    reply: LocalReply | None = None
    reply_path: str = ""
    """What a redirect has made of the path: what its header mutations see."""
    non_forwarding: bool = False
    """A server's own route: inbound it is the application's, outbound it leads nowhere."""
    no_cluster_status: int = 503
    """The answer where the cluster does not exist (flag NC)."""
    timeout: float = 0.0
    """Seconds for the whole call; 0: none."""
    idle_timeout: float | None = None
    max_stream_duration: MaxStreamDuration | None = None
    max_grpc_timeout: float | None = None
    grpc_timeout_offset: float = 0.0
    retry_policy: RetryPolicy | None = None
    hedge_policy: HedgePolicy | None = None
    priority: Priority = "DEFAULT"
    metadata_match: Criteria | None = None
    hash_policies: tuple[HashPolicy, ...] = ()
    mirror_policies: tuple[MirrorPolicy, ...] = ()
    upgrades: tuple[tuple[str, bool], ...] = ()
    request_body_buffer_limit: int | None = None
    include_request_attempt_count: bool = False
    include_attempt_count_in_response: bool = False
    include_is_timeout_retry_header: bool = False
    overrides: Overrides = field(default_factory=lambda: NO_OVERRIDES)
    """By filter name, all levels composed; the same object for every call of this choice."""
    not_built: tuple[str, ...] = ()
    path_rewrite: PathRewrite | None = None
    host_rewrite: HostRewrite | None = None
    cluster_host: str = ""
    """host_rewrite_literal of the weighted cluster that was drawn."""
    append_x_forwarded_host: bool = False
    request_headers: tuple[HeaderMutations, ...] = ()
    """In the order in which they are applied."""
    response_headers: tuple[HeaderMutations, ...] = ()
    facts: RouteFacts = NO_FACTS
    """What filters read of the route."""
    metadata: Metadata = field(default_factory=lambda: NO_METADATA)
    virtual_host_metadata: Metadata = field(default_factory=lambda: NO_METADATA)
    virtual_cluster: Callable[[Request], str] | None = None
    """The name of the virtual cluster of a request that goes to a cluster; None: there are none."""
    bounds_key: object = field(default_factory=object)
    """The same for every variant of this choice that has the same time limits."""

    @property
    def auto_host_rewrite(self) -> bool:
        """Whether each attempt takes the authority of its endpoint (`host_of_endpoint`)."""
        return isinstance(self.host_rewrite, HostOfEndpoint)

    def hash(self, request: Request, context: CallContext) -> int | None:
        """The call's hash for consistent load balancing; None where nothing gave one."""
        return hash_of(self.hash_policies, request, context) if self.hash_policies else None

    def finalize(self, request: Request, context: CallContext) -> Request:
        """The request as it goes upstream (Envoy, finalizeRequestHeaders)."""
        if self.cluster_host:
            request = replace(request, authority=self.cluster_host)
        if self.request_headers:
            request = mutate_request(
                request, self.request_headers, context, self.metadata, self.virtual_host_metadata
            )
        if self.host_rewrite is not None and not self.auto_host_rewrite:
            request = rewrite_host(
                request, self.host_rewrite, self.append_x_forwarded_host, context
            )
        if self.path_rewrite is not None and request.path:
            request = rewrite_path(request, self.path_rewrite, self.match, context)
        context.forwarded = request
        return request

    def host_of_endpoint(self, request: Request, host: str, context: CallContext) -> Request:
        """The request for an attempt at an endpoint of that host name."""
        if not isinstance(self.host_rewrite, HostOfEndpoint):
            return request
        return rewrite_host(request, self.host_rewrite, self.append_x_forwarded_host, context, host)

    def on_response(self, response: Response, context: CallContext) -> Response:
        """The upstream's response with the route's mutations, and the cookies of its hash."""
        response = self.on_reply(response, context)
        if self.hash_policies:
            response = with_cookies(response, self.hash_policies, context)
        return response

    def on_reply(self, response: Response, context: CallContext) -> Response:
        """An answer with the route's mutations: local replies get them too, whoever makes them
        (Envoy, finalizeResponseHeaders)."""
        if self.response_headers:
            request = context.forwarded
            assert request is not None
            response = mutate_response(
                response,
                self.response_headers,
                request,
                context,
                self.metadata,
                self.virtual_host_metadata,
            )
        return response


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """Every `Chosen` that a route can lead to."""

    route: Route
    plain: Chosen
    """Without a weighted cluster."""
    weighted: tuple[Chosen, ...] = ()

    def pick(self, request: Request, context: CallContext, draw: int) -> Chosen:
        """The choice for one call; `draw` is uniform in [0, 2**53)."""
        action = self.route.action
        if not isinstance(action, RouteAction):
            return self.plain
        clusters = action.weighted_clusters
        if clusters is not None:
            i = bisect_right(clusters.bounds, _value(self.plain, clusters, request, context, draw))
            chosen = self.weighted[i]
            header = clusters.clusters[i].cluster_header
        else:
            chosen = self.plain
            header = action.cluster_header
        if not header:
            return chosen
        return replace(chosen, cluster=(request.field(header) or ("",))[0])


def _value(
    plain: Chosen,
    clusters: WeightedCluster,
    request: Request,
    context: CallContext,
    draw: int,
) -> int:
    """What a weighted cluster is drawn with, modulo the sum of the weights."""
    value = draw
    if clusters.header_name:
        found = request.field(clusters.header_name)
        text = found[0].strip(" \t") if len(found) == 1 else ""
        if text.isascii() and text.isdigit() and int(text) < _MAX_UINT64:
            value = int(text)
    elif clusters.use_hash_policy:
        found_hash = plain.hash(request, context)
        value = draw if found_hash is None else found_hash
    return value % clusters.total


def compile_choices(route: Route, host: VirtualHost, configuration: RouteConfiguration) -> Choices:
    """Everything that a route can mean, worked out once."""
    action = route.action
    plain = _plain(route, host, configuration)
    if not isinstance(action, RouteAction):
        return Choices(route, plain)
    plain = _with_action(plain, action, host, configuration)
    clusters = action.weighted_clusters
    if clusters is None:
        return Choices(route, plain)
    return Choices(
        route,
        plain,
        tuple(_with_weight(plain, entry) for entry in clusters.clusters),
    )


def _plain(route: Route, host: VirtualHost, configuration: RouteConfiguration) -> Chosen:
    wins = configuration.most_specific_header_mutations_wins
    request_levels = (route.request_headers, host.request_headers, configuration.request_headers)
    response_levels = (
        route.response_headers,
        host.response_headers,
        configuration.response_headers,
    )
    return Chosen(
        virtual_host=host.name,
        route_name=route.name,
        match=route.match,
        non_forwarding=isinstance(route.action, NonForwarding),
        overrides=composed((configuration.overrides, host.overrides, route.overrides)),
        not_built=(*route.not_built, *host.not_built, *configuration.not_built),
        request_headers=in_order(request_levels, wins),
        response_headers=in_order(response_levels, wins),
        metadata=route.metadata,
        virtual_host_metadata=host.metadata,
        virtual_cluster=host.virtual_cluster if host.virtual_clusters else None,
        request_body_buffer_limit=host.request_body_buffer_limit
        if route.request_body_buffer_limit is None
        else route.request_body_buffer_limit,
    )


def _with_action(
    plain: Chosen, action: RouteAction, host: VirtualHost, configuration: RouteConfiguration
) -> Chosen:
    mirrors = action.mirror_policies or host.mirror_policies or configuration.mirror_policies
    return replace(
        plain,
        cluster=action.cluster,
        no_cluster_status=action.cluster_not_found_response_code,
        timeout=action.timeout,
        idle_timeout=action.idle_timeout,
        max_stream_duration=action.max_stream_duration,
        max_grpc_timeout=action.max_grpc_timeout,
        grpc_timeout_offset=action.grpc_timeout_offset,
        retry_policy=action.retry_policy or host.retry_policy,
        hedge_policy=action.hedge_policy or host.hedge_policy,
        priority=action.priority,
        metadata_match=action.metadata_match,
        hash_policies=action.hash_policies,
        mirror_policies=mirrors or (),
        upgrades=action.upgrades,
        include_request_attempt_count=host.include_request_attempt_count,
        include_attempt_count_in_response=host.include_attempt_count_in_response,
        include_is_timeout_retry_header=host.include_is_timeout_retry_header,
        path_rewrite=action.path_rewrite,
        host_rewrite=action.host_rewrite,
        append_x_forwarded_host=action.append_x_forwarded_host,
        overrides=_with_cors(plain.overrides, host.cors, action.cors),
        facts=RouteFacts(
            action.rate_limits,
            host.rate_limits,
            action.include_virtual_host_rate_limits,
        ),
    )


def _with_cors(
    overrides: Overrides, broader: Override | None, specific: Override | None
) -> Overrides:
    """Overrides with the routes' own CORS policies, which count where the filter has none."""
    if FILTER in overrides or (broader is None and specific is None):
        return overrides
    levels = ({FILTER: one} for one in (broader, specific) if one is not None)
    return composed((overrides, *levels))


def _with_weight(plain: Chosen, entry: ClusterWeight) -> Chosen:
    criteria = plain.metadata_match
    if entry.metadata_match is not None:
        criteria = {**(criteria or {}), **entry.metadata_match}
    return replace(
        plain,
        cluster=entry.name,
        metadata_match=criteria,
        overrides=composed((plain.overrides, entry.overrides)),
        not_built=(*plain.not_built, *entry.not_built),
        cluster_host=entry.host_rewrite_literal,
        request_headers=_before(plain.request_headers, entry.request_headers),
        response_headers=_before(plain.response_headers, entry.response_headers),
    )


def _before(
    levels: tuple[HeaderMutations, ...], entry: HeaderMutations
) -> tuple[HeaderMutations, ...]:
    """A weighted cluster's mutations go first, also where the most specific level goes last."""
    return (entry, *levels) if entry else levels


def composed(levels: tuple[Overrides, ...]) -> Overrides:
    """Overrides of all levels, the least specific first: the next one sees what it has made.

    A level that switches a filter off makes those before it void.
    """
    present = [level for level in levels if level]
    if len(present) < 2:
        return present[0] if present else NO_OVERRIDES
    found: dict[str, Override | None] = {}
    for level in present:
        for name, override in level.items():
            before = found.get(name)
            both = override is not None and before is not None
            found[name] = _then(before, override) if both else override
    return found


def _then(first: Override | None, second: Override | None) -> Override:
    assert first is not None
    assert second is not None
    return lambda http_filter: second(first(http_filter))
