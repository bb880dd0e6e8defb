"""The decider of a mesh: the newest plan's filter chain, with our own certificate."""

from collections.abc import Callable

from meshsdk.call.connection import Connection
from meshsdk.downstream.decision import Close, Decision, Passthrough, Plaintext, Tls
from meshsdk.flow import select
from meshsdk.flow.plan import Plan
from meshsdk.resources.hcm import HttpConnectionManager
from meshsdk.runtime.tls import FeedTls


class PlanDecider:
    """Asked for each accepted connection; never blocks.

    Plan and TLS are asked for anew each time: after a fork both are others.
    """

    def __init__(self, plan: Callable[[], Plan | None], tls: Callable[[], FeedTls]) -> None:
        self._plan = plan
        self._tls = tls

    def decide(self, connection: Connection, /) -> Decision:
        """What the chain of these facts does. IdentityError when we have no certificate to show."""
        plan = self._plan()
        if plan is None:
            return Close("no configuration has arrived")
        selected = select.inbound(plan, connection)
        if selected is None or selected.chain is None:
            what = "TLS" if connection.transport_protocol == "tls" else "plaintext"
            return Close(f"no filter chain takes {what} connections of this kind")
        chain = selected.chain
        speaks_tls = connection.transport_protocol == "tls"
        if chain.tls is not None:
            if speaks_tls:
                return Tls(self._tls().server(chain.tls))
            return Close("plaintext, where the filter chain speaks TLS")
        if not speaks_tls:
            return Plaintext()
        if isinstance(chain.terminal, HttpConnectionManager):
            return Close("TLS, where the filter chain speaks plaintext HTTP")
        return Passthrough()
