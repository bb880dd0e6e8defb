"""Random: every host equally likely; weights are not looked at, as in Envoy."""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.endpoint import Host
from meshsdk.config.extension import Extensions, LbPolicyExtension
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.lb_policies.locality_config import parse_locality_weighted
from meshsdk.lb_policies.policy import PickContext, Picker, Source

TABLE: Final = MessageTable(
    "envoy.extensions.load_balancing_policies.random.v3.Random", honoured("locality_lb_config")
)


@dataclass(frozen=True, slots=True)
class Random:
    """The policy's config."""

    locality_weighted: bool = False
    not_built: tuple[str, ...] = ()

    def picker(self, source: Source) -> Picker:
        """A die with as many sides as there are hosts."""
        return _Die(source.hosts)


class _Die:
    __slots__ = ("_hosts",)

    def __init__(self, hosts: tuple[Host, ...]) -> None:
        self._hosts = hosts

    def pick(self, context: PickContext) -> Host | None:
        hosts = self._hosts
        return hosts[context.random.randrange(len(hosts))] if hosts else None


def _parse(config: Reader, extensions: Extensions) -> Random:
    del extensions
    missing = check(config, TABLE)
    return Random(parse_locality_weighted(config), missing)


EXTENSION: Final = LbPolicyExtension(
    "envoy.load_balancing_policies.random",
    ("type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random",),
    _parse,
)
