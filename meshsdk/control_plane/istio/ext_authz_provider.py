"""Extension providers of external authorization: whom a CUSTOM policy asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader
from meshsdk.filters.status_code import STATUS_CODES

_NO_ROUTE_CACHE: Final = {"clearRouteCache": "istiod 1.29 does not send it"}
_GRPC: Final = fields(
    "service", "port", "timeout", "failOpen", "statusOnError", "includeRequestBodyInCheck",
    ignored=_NO_ROUTE_CACHE,
)  # fmt: skip
_HTTP: Final = _GRPC | fields(
    "pathPrefix", "includeRequestHeadersInCheck", "includeHeadersInCheck",
    "includeAdditionalHeadersInCheck", "headersToUpstreamOnAllow", "headersToDownstreamOnDeny",
    "headersToDownstreamOnAllow",
)  # fmt: skip
_BODY: Final = fields("maxRequestBytes", "allowPartialMessage", "packAsBytes")
_STATUS_NAMES: Final = {code: name for name, code in STATUS_CODES.items()}


@dataclass(frozen=True, slots=True)
class RequestBody:
    """How much of a request's body is shown."""

    max_request_bytes: int
    allow_partial_message: bool = False
    pack_as_bytes: bool = False


@dataclass(frozen=True, slots=True)
class ExtAuthz:
    """A provider of type `envoyExtAuthzGrpc` or `envoyExtAuthzHttp`; see `problem`."""

    protocol: Literal["grpc", "http"]
    service: str
    """`[namespace/]hostname`."""
    port: int
    timeout: float = 600.0
    fail_open: bool = False
    status_on_error: str = ""
    body: RequestBody | None = None
    path_prefix: str = ""
    request_headers: tuple[str, ...] = ()
    additional_headers: Mapping[str, str] = field(default_factory=dict[str, str])
    upstream_headers_on_allow: tuple[str, ...] = ()
    downstream_headers_on_deny: tuple[str, ...] = ()
    downstream_headers_on_allow: tuple[str, ...] = ()

    @property
    def problem(self) -> str | None:
        """Why nobody can be asked; None where all is well."""
        if not self.service or not self.service.partition("/")[2 if "/" in self.service else 0]:
            return f"service: expected [namespace/]hostname, found {self.service!r}"
        if not 1 <= self.port <= 65535:
            return f"port: expected 1 to 65535, found {self.port}"
        if self.path_prefix and not self.path_prefix.startswith("/"):
            return f"pathPrefix: expected a path that begins with /, found {self.path_prefix!r}"
        if self.status_on_error and self.status is None:
            return (
                f"statusOnError: expected a status that Envoy knows, found {self.status_on_error}"
            )
        return None

    @property
    def status(self) -> str | None:
        """Envoy's name of the status on error."""
        code = self.status_on_error
        return _STATUS_NAMES.get(int(code)) if code.isascii() and code.isdecimal() else None


def parse_ext_authz(provider: SpecReader, field_name: str) -> ExtAuthz:
    """The message of an extension provider; it may still have a `problem`."""
    is_http = field_name == "envoyExtAuthzHttp"
    reader = provider.required_message(field_name, _HTTP if is_http else _GRPC)
    common = ExtAuthz(
        "http" if is_http else "grpc",
        reader.string("service"),
        reader.integer("port"),
        reader.duration("timeout", 600.0),
        reader.boolean("failOpen"),
        reader.string("statusOnError"),
        _body(reader),
    )
    if not is_http:
        return common
    return ExtAuthz(
        "http",
        common.service,
        common.port,
        common.timeout,
        common.fail_open,
        common.status_on_error,
        common.body,
        reader.string("pathPrefix"),
        reader.strings("includeRequestHeadersInCheck") or reader.strings("includeHeadersInCheck"),
        reader.string_map("includeAdditionalHeadersInCheck"),
        reader.strings("headersToUpstreamOnAllow"),
        reader.strings("headersToDownstreamOnDeny"),
        reader.strings("headersToDownstreamOnAllow"),
    )


def _body(reader: SpecReader) -> RequestBody | None:
    found = reader.message("includeRequestBodyInCheck", _BODY)
    if found is None:
        return None
    return RequestBody(
        found.integer("maxRequestBytes", at_least=0),
        found.boolean("allowPartialMessage"),
        found.boolean("packAsBytes"),
    )
