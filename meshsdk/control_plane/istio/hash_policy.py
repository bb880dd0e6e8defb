"""Consistent hashing that DestinationRules want of routes."""

from collections.abc import Iterator

from meshsdk.control_plane.istio.config import Config, Scope
from meshsdk.control_plane.istio.destination_rule import DestinationRule
from meshsdk.control_plane.istio.envoy_json import seconds_text
from meshsdk.control_plane.istio.http_actions import Destination
from meshsdk.control_plane.istio.load_balancer import ConsistentHash
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.traffic_policy import TrafficPolicy
from meshsdk.control_plane.shapes.tls import Json


class HashPolicies:
    """Of the DestinationRules that a node sees."""

    def __init__(self, config: Config, proxy: Proxy, scope: Scope) -> None:
        self._config = config
        self._proxy = proxy
        self._services = scope.by_host
        self._known: dict[Destination, Json | None] = {}

    def of_destination(self, destination: Destination) -> Json | None:
        """The hash policy of a route to a destination."""
        if destination not in self._known:
            self._known[destination] = self._find(destination)
        return self._known[destination]

    def _find(self, destination: Destination) -> Json | None:
        service = self._services.get(destination.host)
        if service is None:
            return None
        rule = self._config.destination_rule(service, self._proxy)
        if rule is None:
            return None
        for policy in _policies(rule, destination):
            balancer = None if policy is None else policy.load_balancer
            if balancer is not None and balancer.consistent_hash is not None:
                return _hash_policy(balancer.consistent_hash)
        return None


def _policies(rule: DestinationRule, destination: Destination) -> Iterator[TrafficPolicy | None]:
    """The nearest first. Source: istiod, hashForHTTPDestination."""
    subset = rule.subset(destination.subset) if destination.subset else None
    for policy in (None if subset is None else subset.policy, rule.policy):
        if policy is not None:
            yield policy.ports.get(destination.port)
            yield policy


def _hash_policy(hashing: ConsistentHash) -> Json | None:
    if hashing.header:
        return {"header": {"header_name": hashing.header}}
    if hashing.cookie is not None:
        cookie: Json = {"name": hashing.cookie.name}
        if hashing.cookie.path:
            cookie["path"] = hashing.cookie.path
        if hashing.cookie.ttl is not None:
            cookie["ttl"] = seconds_text(hashing.cookie.ttl)
        if hashing.cookie.attributes:
            cookie["attributes"] = [
                {"name": name, "value": value} for name, value in hashing.cookie.attributes
            ]
        return {"cookie": cookie}
    if hashing.use_source_ip:
        return {"connection_properties": {"source_ip": True}}
    if hashing.query_parameter:
        return {"query_parameter": {"name": hashing.query_parameter}}
    return None
