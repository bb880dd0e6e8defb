"""RouteTable: from a canonical request to what its route says."""

from dataclasses import replace

from meshsdk.call.context import CallContext
from meshsdk.call.message import Request
from meshsdk.call.value import unique
from meshsdk.matching.path import without_parameters, without_query
from meshsdk.resources.route import Route
from meshsdk.resources.route_configuration import RouteConfiguration
from meshsdk.resources.route_match import RouteMatch
from meshsdk.resources.route_reply import DirectResponse, Redirect
from meshsdk.resources.virtual_host import TlsRequirement, VirtualHost
from meshsdk.routing.action import Choices, Chosen, compile_choices
from meshsdk.routing.domains import Domains, without_port
from meshsdk.routing.index import RouteIndex
from meshsdk.routing.redirect import direct_reply, https_reply, redirect_reply

_DRAWS = 2**53
"""random() has this many values: int(random() * n) is even up to here, for every n that divides
well below it (weights and denominators of fractions)."""


_ANY = RouteMatch("prefix", "", bool)


@unique
class Matched:
    """A request's virtual host and route."""

    virtual_host: VirtualHost
    route: Route
    choices: Choices


class _Host:
    """A virtual host with its routes compiled; built at its first use."""

    __slots__ = ("choices", "host", "index")

    def __init__(self, host: VirtualHost, configuration: RouteConfiguration) -> None:
        self.host = host
        self.index = RouteIndex(host.routes)
        self.choices = {
            id(route): compile_choices(route, host, configuration) for route in host.all_routes()
        }


class RouteTable:
    """A route configuration, indexed. `config` is the noun that it was made from."""

    __slots__ = ("_compiled", "_domains", "_ignore_parameters", "config")

    def __init__(self, config: RouteConfiguration) -> None:
        self.config = config
        self._compiled: dict[int, _Host] = {}
        self._ignore_parameters = config.ignore_path_parameters_in_path_matching
        self._domains = Domains(
            (domain, host) for host in config.virtual_hosts for domain in host.domains
        )

    def virtual_host(self, request: Request) -> VirtualHost | None:
        """The virtual host of a request's authority; None when no domain takes it."""
        config = self.config
        if config.vhost_header:
            authority = (request.field(config.vhost_header) or ("",))[0]
        else:
            authority = request.authority
        if config.ignore_port_in_host_matching and ":" in authority:
            authority = without_port(authority)
        return self._domains.find(authority)

    def match(self, request: Request, context: CallContext) -> Matched | None:
        """The first route that takes the request."""
        host = self.virtual_host(request)
        if host is None:
            return None
        return self._match(self._host(host), request, context)

    def choose(self, request: Request, context: CallContext) -> Chosen | None:
        """What the request's route says; None for 404 (flag NR). Writes what the call's context
        knows of it: virtual host, route name, cluster."""
        context.route = None
        context.cluster = context.virtual_cluster = ""
        host = self.virtual_host(request)
        if host is None:
            return None
        context.virtual_host = host.name
        context.ignore_path_parameters = self._ignore_parameters
        if host.require_tls is not TlsRequirement.NONE:
            insecure = _insecure(host, request)
            if insecure is not None:
                return insecure
        matched = self._match(self._host(host), request, context)
        if matched is None:
            return None
        route = matched.route
        context.route_name = route.name
        context.route_metadata = route.metadata
        context.forwarded = request
        chosen = matched.choices.pick(request, context, _draw(context))
        action = route.action
        if isinstance(action, Redirect):
            answer, path = redirect_reply(request, action, route.match, context)
            return replace(chosen, reply=answer, reply_path=path)
        if isinstance(action, DirectResponse):
            return replace(chosen, reply=direct_reply(request, action, context))
        context.route = chosen.facts
        context.cluster = chosen.cluster
        return chosen

    def _host(self, host: VirtualHost) -> _Host:
        known = self._compiled.get(id(host))
        if known is None:
            known = self._compiled.setdefault(id(host), _Host(host, self.config))
        return known

    def _match(self, host: _Host, request: Request, context: CallContext) -> Matched | None:
        path = without_query(request.path)
        if self._ignore_parameters:
            path = without_parameters(path)
        draw = _draw(context)
        tree = host.host.tree
        if tree is not None:
            route = tree.find(
                request, context, lambda route: route.match.matches(request, path, context, draw)
            )
        else:
            route = host.index.find(request, path, context, draw)
        if route is None:
            return None
        return Matched(host.host, route, host.choices[id(route)])


def _draw(context: CallContext) -> int:
    draw = context.draw
    if draw is None:
        draw = context.draw = context.random.randrange(_DRAWS)
    return draw


def _insecure(host: VirtualHost, request: Request) -> Chosen | None:
    """The redirect of a virtual host that requires TLS; None where the request may go on."""
    if request.headers.get("x-forwarded-proto") == "https":
        return None
    if (
        host.require_tls is TlsRequirement.EXTERNAL_ONLY
        and request.headers.get("x-envoy-internal") == "true"
    ):
        return None
    return Chosen(host.name, "", _ANY, reply=https_reply(request))
