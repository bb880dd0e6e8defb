"""The locality settings that several policies' configs share."""

from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader

TABLE: Final = MessageTable(
    "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig",
    honoured("locality_weighted_lb_config")
    | {"zone_aware_lb_config": ignored("needs a local cluster, which a library does not have")},
)


def parse_locality_weighted(config: Reader) -> bool:
    """Whether a policy's `locality_lb_config` asks for locality weights."""
    reader = config.message("locality_lb_config")
    if reader is None:
        return False
    check(reader, TABLE)
    return reader.one_of(*TABLE.fields) == "locality_weighted_lb_config"
