"""envoy.filters.network.ext_authz: a service decides about raw connections. Nobody asks it here.

A connection that it would be asked about is closed by name: that is what istiod's CUSTOM policies
need of the TCP chains beside their HTTP chains, so that these may serve.
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.message import LocalReply
from meshsdk.config.extension import Extensions, NetworkFilterExtension
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.filters.side_service import parse_grpc_service
from meshsdk.matching.metadata import MetadataMatcher, parse_metadata_matcher

NAMESPACE: Final = "envoy.filters.network.ext_authz"
_NOBODY: Final = ignored("nobody is asked: the connection is closed")
TABLE: Final = MessageTable(
    "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
    {
        **honoured("filter_enabled_metadata", "stat_prefix", "grpc_service"),
        "transport_api_version": _NOBODY,
        "failure_mode_allow": _NOBODY,
        "include_peer_certificate": _NOBODY,
        "include_tls_session": _NOBODY,
        "metadata_context_namespaces": _NOBODY,
        "typed_metadata_context_namespaces": _NOBODY,
        "bootstrap_metadata_labels_key": _NOBODY,
        "send_tls_alert_on_denial": _NOBODY,
        "shadow_mode": _NOBODY,
    },
    security=True,
)
TABLES: Final = (TABLE,)
_CLOSED: Final = LocalReply(
    403, flags=("UAEX",), details=f"meshsdk_not_built{{{NAMESPACE}}}", close=True
)


@dataclass(frozen=True, slots=True)
class NetworkExtAuthz:
    """Closes each connection that would have to be asked about."""

    enabled_metadata: MetadataMatcher | None = None

    def on_connection(self, context: CallContext) -> LocalReply | None:
        """None: it would not be asked about (istiod: no CUSTOM policy matched)."""
        matcher = self.enabled_metadata
        if matcher is not None and not matcher.matches(context.dynamic_metadata):
            return None
        return _CLOSED


def parse(reader: Reader, extensions: Extensions) -> NetworkExtAuthz:
    """The filter of an ExtAuthz."""
    del extensions
    check(reader, TABLE)
    reader.required_string("stat_prefix")
    service = reader.message("grpc_service")
    if service is not None:
        parse_grpc_service(service, None)
    metadata = reader.message("filter_enabled_metadata")
    return NetworkExtAuthz(None if metadata is None else parse_metadata_matcher(metadata))


EXTENSION: Final = NetworkFilterExtension(
    name=NAMESPACE,
    type_urls=("type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",),
    parse=parse,
)
