"""Policies that ask for what grpcio does not show a server: `:authority`."""

import logging
from collections.abc import Iterable, Iterator

from meshsdk.filters.rbac import Rbac
from meshsdk.filters.rbac_engine import RuleEngine
from meshsdk.filters.rbac_nodes import And, Leaf, Node, Not, Or
from meshsdk.flow.plan import Plan
from meshsdk.resources.hcm import HttpConnectionManager
from meshsdk.runtime.publisher import Publisher

_LOG = logging.getLogger("meshsdk.integrations.grpcio")
_UNKNOWN = (
    "policy %s asks for the host of a request, which grpcio does not show its servers: to it the host is"
    " unknown, which no rule that allows takes, and every rule that denies"
)


def policies_on_hosts(plan: Plan) -> Iterator[str]:
    """The names of inbound RBAC policies that look at the host."""
    listeners = {id(each): each for each in plan.inbound_by_address.values()}
    if plan.virtual_inbound is not None:
        listeners[id(plan.virtual_inbound)] = plan.virtual_inbound
    for each in listeners.values():
        listener = each.listener
        for chain in (*listener.filter_chains, listener.default_filter_chain):
            if chain is not None and isinstance(chain.terminal, HttpConnectionManager):
                yield from _of_manager(chain.terminal)


def _of_manager(manager: HttpConnectionManager) -> Iterator[str]:
    for named in manager.http_filters:
        found = named.filter
        if isinstance(found, Rbac):
            for engine in (found.enforced, found.shadow):
                if isinstance(engine, RuleEngine):
                    for policy in engine.policies:
                        if _asks((policy.permission, policy.principal)):
                            yield policy.name


def _asks(nodes: Iterable[Node]) -> bool:
    for node in nodes:
        match node:
            case Leaf(seen=seen) if seen is not None and seen.kind == "host":
                return True
            case And(items) | Or(items) if _asks(items):
                return True
            case Not(item) if _asks((item,)):
                return True
            case _:
                pass
    return False


def warn_of_hosts(publisher: Publisher) -> None:
    """Warn of such policies, once each, in the configuration in force and in all that come."""
    told: set[str] = set()

    def look() -> None:
        plan = publisher.plan
        if plan is not None:
            for name in policies_on_hosts(plan):
                if name not in told:
                    told.add(name)
                    _LOG.warning(_UNKNOWN, name)
        publisher.on_change(plan, look)

    look()
