"""DestinationRule: how a host is called, and the subsets of its endpoints. FEED.md 3.6."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.hostnames import is_within, required_host, whole_name
from meshsdk.control_plane.istio.selectors import selects
from meshsdk.control_plane.istio.service_entry import export_to
from meshsdk.control_plane.istio.services import Service, is_exported
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader
from meshsdk.control_plane.istio.traffic_policy import (
    POLICY,
    TrafficPolicy,
    merged,
    parse_traffic_policy,
)

_SPEC: Final = fields("host", "trafficPolicy", "subsets", "exportTo", "workloadSelector")
_SUBSET: Final = fields("name", "labels", "trafficPolicy")
_SELECTOR: Final = fields("matchLabels")


@dataclass(frozen=True, slots=True)
class Subset:
    """Endpoints of a service, by their labels."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    policy: TrafficPolicy | None = None


@dataclass(frozen=True, slots=True)
class DestinationRule:
    """How a host is called."""

    metadata: Metadata
    host: str
    """Whole; a wildcard is of many hosts."""
    policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    """Empty where unset: the mesh's default."""
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    """Callers that it is for; empty is all that see it."""

    @property
    def config(self) -> str:
        """The document as a resource's metadata names it."""
        return (
            f"/apis/networking.istio.io/v1/namespaces/{self.metadata.namespace}"
            f"/destination-rule/{self.metadata.name}"
        )

    def policy_of(self, port: int, subset: Subset | None = None) -> TrafficPolicy:
        """What holds for one port of the service, or of a subset of it."""
        return merged(self.policy, None if subset is None else subset.policy, port)

    def subset(self, name: str) -> Subset | None:
        """The subset of a name."""
        return next((each for each in self.subsets if each.name == name), None)


def _parse(document: Document) -> DestinationRule:
    spec = document.spec(_SPEC)
    policy = spec.message("trafficPolicy", POLICY)
    selector = spec.message("workloadSelector", _SELECTOR)
    subsets = spec.each("subsets", _SUBSET, _subset)
    names: set[str] = set()
    for i, subset in enumerate(subsets):
        if subset.name in names:
            raise spec.error_at("subsets", f"the name {subset.name} is there twice", i)
        names.add(subset.name)
    return DestinationRule(
        document.metadata,
        whole_name(required_host(spec, "host"), document.metadata.namespace),
        None if policy is None else parse_traffic_policy(policy),
        subsets,
        export_to(spec),
        {} if selector is None else selector.string_map("matchLabels"),
    )


def _subset(reader: SpecReader) -> Subset:
    policy = reader.message("trafficPolicy", POLICY)
    return Subset(
        reader.required_string("name"),
        reader.string_map("labels"),
        None if policy is None else parse_traffic_policy(policy),
    )


class DestinationRules:
    """The rules of all namespaces, merged and indexed once a configuration."""

    def __init__(
        self, rules: Iterable[DestinationRule], root_namespace: str, default: Sequence[str]
    ) -> None:
        """`rules` oldest first; `default`: the mesh's `exportTo` for rules without one."""
        self._root = root_namespace
        self._known: dict[tuple[str, str, str], tuple[tuple[DestinationRule, ...], bool]] = {}
        self._default = tuple(default)
        self._exact: dict[str, dict[str, list[DestinationRule]]] = {}
        self._wild: dict[str, dict[str, list[DestinationRule]]] = {}
        for rule in rules:
            index = self._wild if rule.host.startswith("*") else self._exact
            hosts = index.setdefault(rule.metadata.namespace, {})
            _add(hosts.setdefault(rule.host, []), rule, self._default)

    def for_service(
        self, service: Service, namespace: str, labels: Mapping[str, str]
    ) -> DestinationRule | None:
        """The rule that a caller of a namespace, with these labels, follows for a service.

        The caller's namespace before the service's before the root. Source: istiod,
        PushContext.destinationRule, SidecarScope.DestinationRule.
        """
        key = service.hostname, service.namespace, namespace
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._candidates(*key)
        return _chosen(*found, labels) if found[0] else None

    def _candidates(
        self, hostname: str, own: str, namespace: str
    ) -> tuple[tuple[DestinationRule, ...], bool]:
        """The rules that a caller of a namespace may follow, and whether they are its own."""
        first = (namespace,) if namespace != self._root else ()
        for place in dict.fromkeys((*first, own, self._root)):
            found = self._of_namespace(place, hostname, namespace)
            if found:
                return found, place == namespace
        return (), False

    def _of_namespace(
        self, place: str, hostname: str, namespace: str
    ) -> tuple[DestinationRule, ...]:
        """The rules of the most specific host that a namespace has, if the caller sees them."""
        exact = self._exact.get(place, {}).get(hostname, ())
        found = self._seen(exact, place, namespace)
        if found:
            return found
        hosts = sorted(self._wild.get(place, {}), key=len, reverse=True)
        for host in hosts:
            if is_within(hostname, host):
                found = self._seen(self._wild[place][host], place, namespace)
                if found:
                    return found
        return ()

    def _seen(
        self, rules: Iterable[DestinationRule], place: str, namespace: str
    ) -> tuple[DestinationRule, ...]:
        return tuple(
            rule for rule in rules if is_exported(rule.export_to or self._default, place, namespace)
        )


def _add(rules: list[DestinationRule], rule: DestinationRule, default: tuple[str, ...]) -> None:
    """Rules of one host and namespace are one, where the same callers see them: the oldest policy
    counts, and the subsets of all. Source: istiod, mergeDestinationRule."""
    for i, before in enumerate(rules):
        is_same = set(before.export_to or default) == set(rule.export_to or default)
        if before.selector == rule.selector and is_same:
            names = {each.name for each in before.subsets}
            subsets = (*before.subsets, *(e for e in rule.subsets if e.name not in names))
            rules[i] = replace(before, policy=before.policy or rule.policy, subsets=subsets)
            return
    rules.append(rule)


def _chosen(
    rules: tuple[DestinationRule, ...], is_own: bool, labels: Mapping[str, str]
) -> DestinationRule | None:
    for rule in rules:
        if is_own and rule.selector and selects(rule.selector, labels):
            return rule
    return next((rule for rule in rules if not rule.selector), None)


KIND: Final = Kind("networking.istio.io", "DestinationRule", ("v1", "v1beta1", "v1alpha3"), _parse)
