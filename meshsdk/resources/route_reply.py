"""Routes that the mesh answers itself: RedirectAction and DirectResponseAction."""

from dataclasses import dataclass
from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured, not_built
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import octets
from meshsdk.resources.format_string import FormatString, parse_format_string
from meshsdk.resources.path_rewrite import PathRewrite, PrefixRewrite, parse_path_rewrite
from meshsdk.resources.route_match import RouteMatch

REDIRECT_ACTION: Final = MessageTable(
    "envoy.config.route.v3.RedirectAction",
    honoured(
        "https_redirect",
        "scheme_redirect",
        "host_redirect",
        "port_redirect",
        "path_redirect",
        "prefix_rewrite",
        "regex_rewrite",
        "path_rewrite",
        "response_code",
        "strip_query",
    ),
)
DIRECT_RESPONSE: Final = MessageTable(
    "envoy.config.route.v3.DirectResponseAction",
    honoured("status", "body", "body_format"),
)
DATA_SOURCE: Final = MessageTable(
    "envoy.config.core.v3.DataSource",
    {
        **honoured("inline_bytes", "inline_string"),
        "filename": not_built("files named by the control plane"),
        "environment_variable": not_built("environment named by the control plane"),
        "watched_directory": not_built("files named by the control plane"),
    },
)
TABLES: Final = (REDIRECT_ACTION, DIRECT_RESPONSE, DATA_SOURCE)

_CODES: Final = {
    "MOVED_PERMANENTLY": 301,
    "FOUND": 302,
    "SEE_OTHER": 303,
    "TEMPORARY_REDIRECT": 307,
    "PERMANENT_REDIRECT": 308,
}


@dataclass(frozen=True, slots=True)
class Redirect:
    """RedirectAction; empty texts keep what the request has."""

    scheme: str
    host: str
    port: int
    """0: none is written."""
    path: str
    rewrite: PathRewrite | None
    status: int
    strip_query: bool
    not_built: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """DirectResponseAction."""

    status: int
    body: bytes
    body_format: FormatString | None = None
    """What the body is made with; %LOCAL_REPLY_BODY% is `body`."""
    not_built: tuple[str, ...] = ()


def parse_redirect(reader: Reader, match: RouteMatch) -> Redirect:
    """A RedirectAction."""
    missing = check(reader, REDIRECT_ACTION)
    reader.one_of("https_redirect", "scheme_redirect")
    names = ("path_redirect", "prefix_rewrite", "regex_rewrite", "path_rewrite")
    reader.one_of(*(name for name in names if reader.has(name)))
    scheme = reader.string("scheme_redirect")
    return Redirect(
        scheme="https" if reader.boolean("https_redirect") else octets(scheme),
        host=octets(reader.string("host_redirect")),
        port=reader.integer("port_redirect", at_least=0, at_most=65535),
        path=octets(reader.string("path_redirect")),
        rewrite=_rewrite(reader, match),
        status=reader.enum("response_code", _CODES, "MOVED_PERMANENTLY"),
        strip_query=reader.boolean("strip_query"),
        not_built=missing,
    )


def _rewrite(reader: Reader, match: RouteMatch) -> PathRewrite | None:
    rewrite = parse_path_rewrite(reader, match)
    return None if isinstance(rewrite, PrefixRewrite) and not rewrite.text else rewrite


def parse_direct_response(reader: Reader, max_body: int) -> DirectResponse:
    """A DirectResponseAction; ConfigError for a body above the route configuration's bound."""
    missing = check(reader, DIRECT_RESPONSE)
    status = reader.integer("status")
    if not 200 <= status < 600:
        raise reader.error_at("status", f"expected at least 200 and below 600, found {status}")
    source = reader.message("body")
    body = b""
    if source is not None:
        missing = (*missing, *check(source, DATA_SOURCE))
        source.required("inline_bytes", "inline_string", "filename", "environment_variable")
        body = source.octets("inline_bytes") or source.string("inline_string").encode()
    if len(body) > max_body:
        raise reader.error_at("body", f"expected at most {max_body} bytes, found {len(body)}")
    form = reader.message("body_format")
    body_format = None if form is None else parse_format_string(form)
    if body_format is not None:
        missing = (*missing, *body_format.not_built)
    return DirectResponse(status, body, body_format, missing)
