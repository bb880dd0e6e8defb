"""The application's own HTTP filters among those that the feed names."""

from collections.abc import Sequence

from meshsdk.config.extension import PlacedFilter
from meshsdk.resources.http_filters import NamedFilter
from meshsdk.resources.listener import Listener


def placed_in(listener: Listener, placed: Sequence[PlacedFilter]) -> tuple[PlacedFilter, ...]:
    """Those that run in a listener's connection managers."""
    direction = "inbound" if listener.traffic_direction == "INBOUND" else "outbound"
    return tuple(one for one in placed if one.direction in (direction, "both"))


def with_placed(
    filters: Sequence[NamedFilter], placed: Sequence[PlacedFilter]
) -> tuple[NamedFilter, ...]:
    """Filters in the order in which they run; several before the same one keep their order."""
    found = list(filters)
    for one in placed:
        names = [named.name for named in found]
        if one.before == "*":
            index = 0
        else:
            # The router is the last, always.
            index = names.index(one.before) if one.before in names else len(found) - 1
        found.insert(index, NamedFilter(one.name, one.filter, ""))
    return tuple(found)
