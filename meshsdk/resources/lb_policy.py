"""Which load balancing policy a cluster asks for, in its new field or in the old ones."""

from collections.abc import Mapping
from typing import Final, Protocol, runtime_checkable

from meshsdk.config.extension import Extensions
from meshsdk.config.fields import check
from meshsdk.config.reader import Reader
from meshsdk.resources.cluster_fields import LB_POLICY, LB_POLICY_ENTRY


@runtime_checkable
class LbPolicy(Protocol):
    """A parsed policy; `lb_policies` knows what it does."""

    @property
    def not_built(self) -> tuple[str, ...]:
        """Paths of set fields without code."""
        ...


_URL: Final = "type.googleapis.com/envoy.extensions.load_balancing_policies"
# lb_policy -> (type URL of the policy, old config field that has the same shape).
_LEGACY: Final = {
    "ROUND_ROBIN": (f"{_URL}.round_robin.v3.RoundRobin", "round_robin_lb_config"),
    "LEAST_REQUEST": (f"{_URL}.least_request.v3.LeastRequest", "least_request_lb_config"),
    "RING_HASH": (f"{_URL}.ring_hash.v3.RingHash", "ring_hash_lb_config"),
    "RANDOM": (f"{_URL}.random.v3.Random", ""),
    "MAGLEV": (f"{_URL}.maglev.v3.Maglev", "maglev_lb_config"),
}
_SUBSET_URL: Final = f"{_URL}.subset.v3.Subset"
_HASHING: Final = frozenset({"RING_HASH", "MAGLEV"})
CLUSTER_PROVIDED: Final = "CLUSTER_PROVIDED"


def parse_lb_policy(cluster: Reader, extensions: Extensions) -> LbPolicy | None:
    """The cluster's policy; None: the cluster's own type chooses hosts (CLUSTER_PROVIDED)."""
    typed = cluster.message("load_balancing_policy")
    if typed is not None:
        return parse_policy_list(typed, extensions)
    name = cluster.string("lb_policy", "ROUND_ROBIN")
    if name == "LOAD_BALANCING_POLICY_CONFIG":
        raise cluster.error_at("load_balancing_policy", "expected a message, found none")
    if name == CLUSTER_PROVIDED:
        if cluster.has("lb_subset_config"):
            raise cluster.error_at("lb_policy", "CLUSTER_PROVIDED cannot go with lb_subset_config")
        return None
    if name not in _LEGACY:
        raise cluster.error_at(
            "lb_policy", f"expected one of {', '.join(_LEGACY)}, {CLUSTER_PROVIDED}, found {name!r}"
        )
    return _legacy(cluster, name, extensions)


def parse_policy_list(reader: Reader, extensions: Extensions) -> LbPolicy | None:
    """The first policy of a LoadBalancingPolicy that there is code for, as in Envoy."""
    check(reader, LB_POLICY)
    unknown: list[str] = []
    for entry in reader.messages("policies"):
        check(entry, LB_POLICY_ENTRY)
        config = entry.required_message("typed_extension_config").typed("typed_config")
        if config is None:
            raise entry.error_at("typed_extension_config.typed_config", "expected a message")
        if config.type_url == f"{_URL}.cluster_provided.v3.ClusterProvided":
            return None
        if extensions.lb_policies.find(config.type_url) is not None:
            return _parse(config, extensions)
        unknown.append(config.type_url)
    raise reader.error_at(
        "policies", f"no load balancing policy takes {', '.join(unknown) or 'an empty list'}"
    )


def _legacy(cluster: Reader, name: str, extensions: Extensions) -> LbPolicy:
    """The old fields say the same as the typed policy: read them as if they were one."""
    url, field = _LEGACY[name]
    own = cluster.message(field) if field else None
    value: dict[str, object] = {} if own is None else dict(own.value)
    common = cluster.message("common_lb_config")
    if common is not None:
        value |= _common(common, name)
    policy: dict[str, object] = {"@type": url} | value
    path = f"{cluster.path}.{field or 'lb_policy'}"
    subset = cluster.message("lb_subset_config")
    # Envoy: a subset config without selectors is switched off.
    if subset is None or not subset.messages("subset_selectors"):
        return _parse(Reader(policy, path), extensions)
    wrapped = dict(subset.value) | {"@type": _SUBSET_URL, "subset_lb_policy": _as_list(policy)}
    return _parse(Reader(wrapped, subset.path), extensions)


def _as_list(policy: Mapping[str, object]) -> Mapping[str, object]:
    entry = {"typed_extension_config": {"name": "legacy", "typed_config": policy}}
    return {"policies": [entry]}


def _common(common: Reader, name: str) -> dict[str, object]:
    found: dict[str, object] = {}
    hashing = common.message("consistent_hashing_lb_config")
    weighted = common.message("locality_weighted_lb_config")
    zone_aware = common.message("zone_aware_lb_config")
    if name in _HASHING:
        if hashing is not None:
            found["consistent_hashing_lb_config"] = hashing.value
        if weighted is not None:
            found["locality_weighted_lb_config"] = weighted.value
    elif weighted is not None:
        found["locality_lb_config"] = {"locality_weighted_lb_config": weighted.value}
    elif zone_aware is not None:
        found["locality_lb_config"] = {"zone_aware_lb_config": zone_aware.value}
    return found


def _parse(config: Reader, extensions: Extensions) -> LbPolicy:
    found = extensions.lb_policies.get(config).parse(config, extensions)
    if not isinstance(found, LbPolicy):
        raise TypeError(f"the parser of {config.type_url} gave {type(found).__name__}")
    return found
