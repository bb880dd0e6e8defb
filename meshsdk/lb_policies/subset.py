"""Subset: a balancer of its own for each set of hosts that share metadata values.

Source: Envoy, SubsetLoadBalancer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, TypeAlias, cast

from meshsdk.call.endpoint import Host
from meshsdk.config.extension import Extensions, LbPolicyExtension
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.lb_policies.policy import Live, LoadBalancer, PickContext
from meshsdk.resources.lb_policy import LbPolicy, parse_policy_list

TABLE: Final = MessageTable(
    "envoy.extensions.load_balancing_policies.subset.v3.Subset",
    honoured(
        "fallback_policy",
        "default_subset",
        "subset_selectors",
        "allow_redundant_keys",
        "locality_weight_aware",
        "scale_locality_weight",
        "panic_mode_any",
        "list_as_any",
        "metadata_fallback_policy",
        "subset_lb_policy",
    ),
)
SELECTOR_TABLE: Final = MessageTable(
    "envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector",
    honoured("keys", "fallback_policy", "fallback_keys_subset", "single_host_per_subset"),
)
_POLICIES: Final = {p: p for p in ("NO_FALLBACK", "ANY_ENDPOINT", "DEFAULT_SUBSET")}
_SELECTOR_POLICIES: Final = _POLICIES | {"NOT_DEFINED": "NOT_DEFINED", "KEYS_SUBSET": "KEYS_SUBSET"}
_METADATA_POLICIES: Final = {"METADATA_NO_FALLBACK": False, "FALLBACK_LIST": True}
_FALLBACK_LIST: Final = "fallback_list"
_LB: Final = "envoy.lb"

Criteria: TypeAlias = Mapping[str, object]
SubsetKey: TypeAlias = tuple[tuple[str, object], ...]
Build: TypeAlias = Callable[[Sequence[Host], Live], LoadBalancer]


@dataclass(frozen=True, slots=True)
class Selector:
    """Which metadata keys make subsets, and what to do where a call's values have none."""

    keys: frozenset[str]
    fallback: str = "NOT_DEFINED"
    fallback_keys: frozenset[str] = frozenset()
    single_host: bool = False


@dataclass(frozen=True, slots=True)
class Subset:
    """The policy's config."""

    child: LbPolicy
    selectors: tuple[Selector, ...]
    fallback: str = "NO_FALLBACK"
    default_subset: Criteria | None = None
    panic_mode_any: bool = False
    list_as_any: bool = False
    allow_redundant_keys: bool = False
    fallback_list: bool = False
    locality_weight_aware: bool = False
    scale_locality_weight: bool = False
    not_built: tuple[str, ...] = ()


class SubsetBalancer:
    """Finds the subset that a call's criteria name, then asks that subset's balancer."""

    __slots__ = ("_any", "_build", "_config", "_default", "_hosts", "_subsets", "live")

    def __init__(self, config: Subset, hosts: Sequence[Host], live: Live, build: Build) -> None:
        self._config = config
        self._hosts = tuple(hosts)
        self._build = build
        self.live = live
        self._any = build(self._hosts, live)
        default = config.default_subset or {}
        self._default = self._make(
            [h for h in self._hosts if matches(default, h, list_as_any=config.list_as_any)]
        )
        self._subsets = {key: self._make(group) for key, group in self._groups().items()}

    def pick(self, context: PickContext) -> Host | None:
        """A host, or None when none may be used."""
        criteria = context.metadata_match
        if not self._config.fallback_list or _FALLBACK_LIST not in criteria:
            return self._pick(context, criteria)
        alternatives = _items(criteria[_FALLBACK_LIST])
        rest = {name: value for name, value in criteria.items() if name != _FALLBACK_LIST}
        if not alternatives:
            return self._pick(context, rest)
        for alternative in alternatives:
            host = self._pick(context, {**rest, **_fields(alternative)})
            if host is not None:
                return host
        return None

    def _pick(self, context: PickContext, criteria: Criteria) -> Host | None:
        if self._config.allow_redundant_keys:
            criteria = self._without_redundant(criteria)
        found = self._subsets.get(_key(criteria)) if criteria else None
        if found is not None:
            return found.pick(context)
        selector = self._selector(criteria)
        if selector is not None and selector.fallback != "NOT_DEFINED":
            return self._fall_back(selector, context, criteria)
        host = self._by_policy(self._config.fallback, context)
        if host is None and self._config.fallback != "NO_FALLBACK" and self._config.panic_mode_any:
            return self._any.pick(context)
        return host

    def _fall_back(
        self, selector: Selector, context: PickContext, criteria: Criteria
    ) -> Host | None:
        if selector.fallback != "KEYS_SUBSET":
            return self._by_policy(selector.fallback, context)
        fewer = {name: criteria[name] for name in criteria if name in selector.fallback_keys}
        return self._pick(context, fewer)

    def _by_policy(self, policy: str, context: PickContext) -> Host | None:
        match policy:
            case "ANY_ENDPOINT":
                return self._any.pick(context)
            case "DEFAULT_SUBSET":
                return self._default.pick(context)
            case _:
                return None

    def _selector(self, criteria: Criteria) -> Selector | None:
        keys = frozenset(criteria)
        return next((s for s in self._config.selectors if s.keys == keys), None)

    def _without_redundant(self, criteria: Criteria) -> Criteria:
        for selector in self._config.selectors:
            if selector.keys <= criteria.keys():
                return {name: criteria[name] for name in selector.keys}
        return criteria

    def _groups(self) -> dict[SubsetKey, list[Host]]:
        groups: dict[SubsetKey, list[Host]] = {}
        for host in self._hosts:
            labels = host.endpoint.metadata.get(_LB, {})
            for selector in self._config.selectors:
                for key in _keys(selector.keys, labels, list_as_any=self._config.list_as_any):
                    group = groups.setdefault(key, [])
                    if not (selector.single_host and group):
                        group.append(host)
        return groups

    def _make(self, hosts: list[Host]) -> LoadBalancer:
        return self._build(_reweighted(hosts, self._hosts, self._config), Live())


def _keys(names: frozenset[str], labels: Criteria, *, list_as_any: bool) -> Iterator[SubsetKey]:
    """The subsets of a selector to which a host with these labels belongs."""
    if not names or not names <= labels.keys():
        return
    ordered = sorted(names)
    choices = [_alternatives(labels[name], list_as_any=list_as_any) for name in ordered]
    for values in product(*choices):
        yield tuple(zip(ordered, map(_frozen, values), strict=True))


def _alternatives(value: object, *, list_as_any: bool) -> Iterable[object]:
    if list_as_any and isinstance(value, list | tuple):
        return _items(cast("object", value))
    return (value,)


def _items(value: object) -> tuple[object, ...]:
    """The items of a list value; none of anything else."""
    return tuple(cast("Sequence[object]", value)) if isinstance(value, list | tuple) else ()


def _fields(value: object) -> Criteria:
    """The fields of a struct value; none of anything else."""
    return cast("Criteria", value) if isinstance(value, Mapping) else {}


def _key(criteria: Criteria) -> SubsetKey:
    return tuple((name, _frozen(criteria[name])) for name in sorted(criteria))


def _frozen(value: object) -> object:
    """A hashable stand-in that tells true from 1, as google.protobuf.Value does."""
    match value:
        case bool() | None | str():
            return (type(value).__name__, value)
        case int() | float():
            return ("number", float(value))
        case list() | tuple():
            return ("list", tuple(map(_frozen, _items(cast("object", value)))))
        case _:
            fields = _fields(value)
            return ("struct", tuple((name, _frozen(fields[name])) for name in sorted(fields)))


def matches(criteria: Criteria, host: Host, *, list_as_any: bool) -> bool:
    """Whether a host has all of these `envoy.lb` values; no criteria match every host."""
    labels = host.endpoint.metadata.get(_LB, {})
    for name, wanted in criteria.items():
        if name not in labels:
            return False
        choices = _alternatives(labels[name], list_as_any=list_as_any)
        if all(_frozen(choice) != _frozen(wanted) for choice in choices):
            return False
    return True


def _reweighted(hosts: list[Host], everyone: tuple[Host, ...], config: Subset) -> tuple[Host, ...]:
    """Hosts with the locality weights that hold within the subset."""
    if not config.locality_weight_aware:
        return tuple(_with_locality_weight(h, 0) for h in hosts)
    if not config.scale_locality_weight:
        return tuple(hosts)

    def count(among: Iterable[Host], like: Host) -> int:
        place = (like.endpoint.priority, like.endpoint.locality)
        return sum((h.endpoint.priority, h.endpoint.locality) == place for h in among)

    scaled: list[Host] = []
    for host in hosts:
        share = count(hosts, host) / count(everyone, host)
        # Envoy: rounded to the nearest, and never to nothing.
        weight = max(1, round(host.endpoint.locality_weight * share))
        scaled.append(_with_locality_weight(host, weight))
    return tuple(scaled)


def _with_locality_weight(host: Host, weight: int) -> Host:
    if host.endpoint.locality_weight == weight:
        return host
    return replace(host, endpoint=replace(host.endpoint, locality_weight=weight))


def _parse(config: Reader, extensions: Extensions) -> Subset:
    missing = check(config, TABLE)
    child = parse_policy_list(config.required_message("subset_lb_policy"), extensions)
    if child is None or isinstance(child, Subset):
        raise config.error_at("subset_lb_policy", "expected a policy that picks among hosts")
    default = config.struct("default_subset") if config.has("default_subset") else None
    return Subset(
        child,
        config.each("subset_selectors", _parse_selector),
        config.enum("fallback_policy", _POLICIES, "NO_FALLBACK"),
        default,
        config.boolean("panic_mode_any"),
        config.boolean("list_as_any"),
        config.boolean("allow_redundant_keys"),
        config.enum("metadata_fallback_policy", _METADATA_POLICIES, "METADATA_NO_FALLBACK"),
        config.boolean("locality_weight_aware"),
        config.boolean("scale_locality_weight"),
        missing + child.not_built,
    )


def _parse_selector(reader: Reader) -> Selector:
    check(reader, SELECTOR_TABLE)
    keys = frozenset(reader.strings("keys"))
    fallback = reader.enum("fallback_policy", _SELECTOR_POLICIES, "NOT_DEFINED")
    fewer = frozenset(reader.strings("fallback_keys_subset"))
    if fallback == "KEYS_SUBSET":
        if not fewer:
            raise reader.error_at("fallback_keys_subset", "expected keys, found none")
        if not fewer < keys:
            raise reader.error_at("fallback_keys_subset", "expected fewer keys than `keys` has")
    elif fewer:
        raise reader.error_at("fallback_keys_subset", "expected none without KEYS_SUBSET")
    return Selector(keys, fallback, fewer, reader.boolean("single_host_per_subset"))


EXTENSION: Final = LbPolicyExtension(
    "envoy.load_balancing_policies.subset",
    ("type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset",),
    _parse,
)
