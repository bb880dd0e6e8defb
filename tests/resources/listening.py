"""What the tests of listeners share."""

from meshsdk.config.extension import Extensions, Registry
from meshsdk.config.reader import Reader
from meshsdk.filters import HTTP_FILTERS, NETWORK_FILTERS
from meshsdk.lb_policies import LB_POLICIES
from meshsdk.resources.listener import Listener, parse

EXTENSIONS = Extensions(
    Registry("HTTP filter", HTTP_FILTERS),
    Registry("network filter", NETWORK_FILTERS),
    Registry("load balancing policy", LB_POLICIES),
)
NONE: dict[str, object] = {}
"""An empty message."""
PREFIX = "type.googleapis.com/envoy.extensions.filters."
TCP_PROXY: dict[str, object] = {
    "name": "tcp",
    "typed_config": {
        "@type": f"{PREFIX}network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "x",
        "cluster": "c",
    },
}


def read(**fields: object) -> Listener:
    """A listener `l` with these fields."""
    return parse(Reader({"name": "l", **fields}, "listener"), EXTENSIONS)


def chain(match: dict[str, object] | None = None, *filters: object) -> dict[str, object]:
    """A filter chain; tcp_proxy where no filters are given."""
    made: dict[str, object] = {"filters": list(filters) or [TCP_PROXY]}
    return made if match is None else made | {"filter_chain_match": match}
