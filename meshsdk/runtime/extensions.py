"""The registries that parsers are given, of what ships and of the application's own."""

from meshsdk.config.bootstrap import Node
from meshsdk.config.extension import Extensions, PlacedFilter, Registry
from meshsdk.filters import HTTP_FILTERS, NETWORK_FILTERS
from meshsdk.lb_policies import LB_POLICIES
from meshsdk.runtime.observing import told_to_peers
from meshsdk.runtime.options import Options


def extensions_of(options: Options, node: Node) -> Extensions:
    """For one mesh."""
    return Extensions(
        http_filters=Registry(
            "HTTP filter",
            (
                *HTTP_FILTERS,
                *(f for f in options.http_filters if not isinstance(f, PlacedFilter)),
            ),
        ),
        network_filters=Registry("network filter", NETWORK_FILTERS),
        lb_policies=Registry("load balancing policy", LB_POLICIES),
        unknown_fields=options.unknown_fields,
        compat=options.compat,
        namespace=node.namespace,
        dns_domain=node.dns_domain,
        service_cluster=node.cluster,
        local_address=node.address or "127.0.0.1",
        peer_metadata=told_to_peers(node),
        placed_filters=tuple(f for f in options.http_filters if isinstance(f, PlacedFilter)),
    )
