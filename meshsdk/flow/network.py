"""The network filters of a chain, asked before any request is read."""

from meshsdk.call.context import CallContext
from meshsdk.call.message import LocalReply
from meshsdk.resources.filter_chain import FilterChain


def refusal(chain: FilterChain | None, context: CallContext) -> LocalReply | None:
    """Why the connection is closed (%CONNECTION_TERMINATION_DETAILS%); None: it may go on."""
    if chain is None:
        return None
    for network_filter in chain.network_filters:
        denied = network_filter.on_connection(context)
        if denied is not None:
            return denied
    return None
