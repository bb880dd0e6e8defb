"""The older load balancing fields of a Cluster: read as the typed policies, by the same tables."""

from collections.abc import Mapping
from typing import Final

from meshsdk.config.fields import Field, MessageTable
from meshsdk.lb_policies import (
    hashing,
    least_request,
    maglev,
    ring_hash,
    round_robin,
    slow_start,
    subset,
)

_CLUSTER: Final = "envoy.config.cluster.v3.Cluster"


def _same(message: str, table: MessageTable, *names: str) -> MessageTable:
    fields: Mapping[str, Field] = {name: table.use_of(name) for name in names}
    return MessageTable(message, fields)


TABLES: Final = (
    _same(
        f"{_CLUSTER}.RingHashLbConfig",
        ring_hash.TABLE,
        "minimum_ring_size",
        "maximum_ring_size",
        "hash_function",
    ),
    _same(f"{_CLUSTER}.MaglevLbConfig", maglev.TABLE, "table_size"),
    _same(
        f"{_CLUSTER}.LeastRequestLbConfig",
        least_request.TABLE,
        "choice_count",
        "active_request_bias",
        "slow_start_config",
    ),
    _same(f"{_CLUSTER}.RoundRobinLbConfig", round_robin.TABLE, "slow_start_config"),
    _same(
        f"{_CLUSTER}.SlowStartConfig",
        slow_start.TABLE,
        "slow_start_window",
        "aggression",
        "min_weight_percent",
    ),
    _same(
        f"{_CLUSTER}.LbSubsetConfig",
        subset.TABLE,
        "fallback_policy",
        "default_subset",
        "subset_selectors",
        "locality_weight_aware",
        "scale_locality_weight",
        "panic_mode_any",
        "list_as_any",
        "metadata_fallback_policy",
    ),
    _same(
        f"{_CLUSTER}.LbSubsetConfig.LbSubsetSelector",
        subset.SELECTOR_TABLE,
        "keys",
        "single_host_per_subset",
        "fallback_policy",
        "fallback_keys_subset",
    ),
    _same(
        f"{_CLUSTER}.CommonLbConfig.ConsistentHashingLbConfig",
        hashing.CONSISTENT_HASHING,
        "use_hostname_for_hashing",
        "hash_balance_factor",
    ),
)
