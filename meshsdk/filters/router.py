"""envoy.filters.http.router: the last filter; `flow/` does its work."""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.filter import Continue, Verdict
from meshsdk.call.message import LocalReply, Request
from meshsdk.config.extension import Extensions, HttpFilterExtension
from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError

TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.router.v3.Router",
    {
        **honoured(
            "suppress_envoy_headers", "respect_expected_rq_timeout", "upstream_http_filters"
        ),
        "dynamic_stats": ignored("statistics"),
        "start_child_span": ignored("tracing"),
        "upstream_log": ignored("access logs"),
        "upstream_log_options": ignored("access logs"),
        "suppress_grpc_request_failure_code_stats": ignored("statistics"),
        "strict_check_headers": not_built("values of x-envoy headers are not checked"),
        "reject_connect_request_early_data": not_built("CONNECT"),
    },
)
TABLES: Final = (TABLE,)
_CODEC_URL: Final = (
    "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
)


@dataclass(frozen=True, slots=True)
class Router:
    """What the router's config changes about routing a request."""

    suppress_envoy_headers: bool = False
    """Adds no x-envoy-* to requests and responses."""
    respect_expected_rq_timeout: bool = False
    """x-envoy-expected-rq-timeout-ms of the request bounds the call."""
    not_built: tuple[str, ...] = ()
    """Paths of set fields without code."""

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        """The flow routes on; it fails by name where the config asks for what is not built."""
        del context
        if self.not_built:
            return LocalReply(500, details=f"meshsdk_not_built{{{self.not_built[0]}}}")
        return Continue(request)


def parse(reader: Reader, _: Extensions) -> Router:
    """The router's config. Upstream HTTP filters other than the codec are refused by name."""
    missing = check(reader, TABLE)
    for entry in reader.messages("upstream_http_filters"):
        config = entry.typed("typed_config")
        url = "" if config is None else config.type_url
        if url != _CODEC_URL:
            raise UnknownExtensionError(
                entry.path, f"no upstream HTTP filter takes {url or entry.string('name')!r}", url
            )
    return Router(
        reader.boolean("suppress_envoy_headers"),
        reader.boolean("respect_expected_rq_timeout"),
        missing,
    )


EXTENSION: Final = HttpFilterExtension(
    name="envoy.filters.http.router",
    type_urls=("type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",),
    parse=parse,
    is_terminal=True,
)
