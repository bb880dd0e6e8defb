"""envoy.filters.network.rbac: the same policies, asked of a connection."""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.message import LocalReply, Request
from meshsdk.config.extension import Extensions, NetworkFilterExtension
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.filters.rbac import judged, parse_engines, publish
from meshsdk.filters.rbac_engine import Engine, Ruling

NAMESPACE: Final = "envoy.filters.network.rbac"
TABLE: Final = MessageTable(
    "envoy.extensions.filters.network.rbac.v3.RBAC",
    {
        **honoured(
            "rules",
            "matcher",
            "shadow_rules",
            "shadow_matcher",
            "shadow_rules_stat_prefix",
            "stat_prefix",
        ),
        "enforcement_type": ignored("a connection is judged again for each of its requests"),
        "delay_deny": ignored("a refused connection closes at once"),
    },
    security=True,
)


class _NoRequest(Request):
    """A connection has no request: no header, no path, nothing that matches one."""

    __slots__ = ()

    def field(self, name: str) -> tuple[str, ...]:
        """No field is there."""
        del name
        return ()


_NO_REQUEST: Final = _NoRequest("", "", "")


@dataclass(frozen=True, slots=True)
class NetworkRbac:
    """The policies of one filter; None: there are none of that kind."""

    enforced: Engine | None = None
    shadow: Engine | None = None

    def on_connection(self, context: CallContext) -> LocalReply | None:
        """None lets the connection be; a reply says why it must close, and is not sent on TCP."""
        if self.shadow is not None:
            ruling = self.shadow.decide(_NO_REQUEST, context)
            publish(context, NAMESPACE, ruling)
            judged(context, NAMESPACE, self.shadow, ruling, _NO_REQUEST)
        if self.enforced is None:
            return None
        ruling = self.enforced.decide(_NO_REQUEST, context)
        publish(context, NAMESPACE, ruling)
        if ruling.is_audited or not ruling.allowed:
            judged(context, NAMESPACE, self.enforced, ruling, _NO_REQUEST)
        return None if ruling.allowed else _close(ruling)


def _close(ruling: Ruling) -> LocalReply:
    return LocalReply(403, flags=("UAEX",), details=ruling.details, close=True)


def parse(reader: Reader, extensions: Extensions) -> NetworkRbac:
    """The filter of an envoy.extensions.filters.network.rbac.v3.RBAC."""
    check(reader, TABLE)
    reader.required_string("stat_prefix")
    return NetworkRbac(*parse_engines(reader, extensions))


EXTENSION: Final = NetworkFilterExtension(
    name=NAMESPACE,
    type_urls=("type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",),
    parse=parse,
)
