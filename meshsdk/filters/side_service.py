"""Which cluster a filter's side calls go to: GrpcService and HttpUri."""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.effects import GrpcFetch
from meshsdk.config.fields import MessageTable, check, honoured, ignored, refused
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import octets
from meshsdk.resources.header_mutations import HEADER_VALUE

_NO_RETRIES: Final = refused("a check is made once; retries of side calls are not built")
GRPC_SERVICE: Final = MessageTable(
    "envoy.config.core.v3.GrpcService",
    {
        **honoured("envoy_grpc", "timeout", "initial_metadata"),
        "google_grpc": refused("side calls go through clusters of the mesh"),
        "retry_policy": _NO_RETRIES,
    },
    security=True,
)
ENVOY_GRPC: Final = MessageTable(
    "envoy.config.core.v3.GrpcService.EnvoyGrpc",
    {
        **honoured("cluster_name", "authority"),
        "retry_policy": _NO_RETRIES,
        "max_receive_message_length": ignored("4 MiB, gRPC's own limit"),
        "skip_envoy_headers": ignored("none of Envoy's own fields is sent"),
    },
    security=True,
)
HTTP_URI: Final = MessageTable(
    "envoy.config.core.v3.HttpUri", honoured("uri", "cluster", "timeout"), security=True
)
TABLES: Final = (GRPC_SERVICE, ENVOY_GRPC, HTTP_URI)


@dataclass(frozen=True, slots=True)
class GrpcService:
    """A gRPC service in a cluster."""

    cluster: str
    timeout: float | None
    """Seconds; None: unbounded."""
    authority: str = ""
    metadata: tuple[tuple[str, str], ...] = ()

    def fetch(self, service: str, method: str, message: dict[str, object]) -> GrpcFetch:
        """The side call with a message."""
        return GrpcFetch(
            self.cluster, service, method, message, self.timeout, self.authority, self.metadata
        )


def parse_grpc_service(reader: Reader, default_timeout: float | None) -> GrpcService:
    """A GrpcService; `default_timeout` in seconds, where it sets none. An explicit 0 is unbounded."""
    check(reader, GRPC_SERVICE)
    envoy_grpc = reader.required_message("envoy_grpc")
    check(envoy_grpc, ENVOY_GRPC)
    timeout = reader.optional_duration("timeout")
    return GrpcService(
        envoy_grpc.required_string("cluster_name"),
        default_timeout if timeout is None else timeout or None,
        octets(envoy_grpc.string("authority")),
        tuple(_pair(value) for value in reader.messages("initial_metadata")),
    )


def _pair(reader: Reader) -> tuple[str, str]:
    check(reader, HEADER_VALUE)
    value = octets(reader.string("value"))
    if "%" in value:
        raise reader.error_at("value", "formats in initial_metadata are not built")
    return octets(reader.required_string("key")).lower(), value


def parse_http_uri(reader: Reader) -> tuple[str, float | None]:
    """The cluster of an HttpUri, and its timeout in seconds (None: unbounded)."""
    check(reader, HTTP_URI)
    reader.required_string("uri")
    cluster = reader.required_string("cluster")
    timeout = reader.optional_duration("timeout")
    if timeout is None or timeout < 0:
        raise reader.error_at("timeout", "expected a duration of at least 0 seconds")
    return cluster, timeout or None


def text_of(octet_view: str) -> str:
    """Octets as the text of a protobuf string; what is no UTF-8 becomes `!`, as Envoy writes it."""
    if octet_view.isascii():
        return octet_view
    text = octet_view.encode("latin-1").decode("utf-8", "surrogateescape")
    return "".join("!" if "\udc80" <= c <= "\udcff" else c for c in text)
