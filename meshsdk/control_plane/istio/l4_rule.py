"""TCPRoute and TLSRoute of a VirtualService: where connections go that nobody reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from meshsdk.control_plane.istio.hostnames import is_host, is_subnet, is_within
from meshsdk.control_plane.istio.http_actions import DESTINATION, parse_destination
from meshsdk.control_plane.istio.http_match import gateway_name
from meshsdk.control_plane.istio.http_rule import RouteDestination
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

TCP: Final = fields("match", "route")
TLS: Final = TCP
_ROUTE: Final = fields("destination", "weight")
_L4: Final = fields(
    "destinationSubnets", "port", "sourceLabels", "gateways", "sourceNamespace",
    refused={"sourceSubnet": "istiod ignores it, so the rule would be for more than it says"},
)  # fmt: skip
_TLS_MATCH: Final = _L4 | fields("sniHosts")


@dataclass(frozen=True, slots=True)
class L4Match:
    """Conditions that must all hold."""

    destination_subnets: tuple[str, ...] = ()
    port: int = 0
    source_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    source_namespace: str = ""
    gateways: tuple[str, ...] = ()
    sni_hosts: tuple[str, ...] = ()

    def is_for(self, gateway: str, labels: Mapping[str, str], namespace: str, port: int) -> bool:
        """Who asks, and which port was dialled. Source: istiod, matchTCP."""
        is_bound = not self.gateways or gateway in self.gateways
        is_labelled = all(labels.get(key) == value for key, value in self.source_labels.items())
        is_near = self.source_namespace in ("", namespace)
        return is_bound and is_labelled and is_near and self.port in (0, port)


@dataclass(frozen=True, slots=True)
class L4Rule:
    """One rule."""

    matches: tuple[L4Match, ...] = ()
    routes: tuple[RouteDestination, ...] = ()


def parse_tcp_rule(reader: SpecReader, namespace: str) -> L4Rule:
    """Without a match it is for every connection."""
    matches = tuple(_match(each, namespace) for each in reader.messages("match", _L4))
    return L4Rule(matches, _routes(reader, namespace))


def parse_tls_rule(reader: SpecReader, namespace: str, hosts: Sequence[str]) -> L4Rule:
    """`hosts` of the VirtualService hold all server names."""
    found: list[L4Match] = []
    for each in reader.messages("match", _TLS_MATCH, at_least=1):
        match = _match(each, namespace)
        if not match.sni_hosts:
            raise each.error("expected sniHosts, found none")
        for i, name in enumerate(match.sni_hosts):
            if not is_host(name, may_be_address=False):
                raise each.error_at("sniHosts", f"expected a host name, found {name!r}", i)
            if not any(is_within(name, host) for host in hosts):
                problem = f"{name} is within none of the VirtualService's hosts"
                raise each.error_at("sniHosts", problem, i)
        found.append(match)
    return L4Rule(tuple(found), _routes(reader, namespace))


def _match(reader: SpecReader, namespace: str) -> L4Match:
    subnets = reader.strings("destinationSubnets")
    for i, text in enumerate(subnets):
        if not is_subnet(text):
            raise reader.error_at("destinationSubnets", f"expected a subnet, found {text!r}", i)
    return L4Match(
        subnets,
        reader.integer("port", 0, at_least=1, at_most=65535),
        reader.string_map("sourceLabels"),
        reader.string("sourceNamespace"),
        tuple(gateway_name(name, namespace) for name in reader.strings("gateways")),
        reader.strings("sniHosts"),
    )


def _routes(reader: SpecReader, namespace: str) -> tuple[RouteDestination, ...]:
    routes = tuple(
        RouteDestination(
            parse_destination(each.required_message("destination", DESTINATION), namespace),
            each.integer("weight", at_least=0),
        )
        for each in reader.messages("route", _ROUTE, at_least=1)
    )
    if len(routes) > 1 and not sum(each.weight for each in routes):
        raise reader.error_at("route", "expected weights whose sum is more than 0")
    return routes
