"""What a rule of a VirtualService does with a request: nouns, and what istiod refuses in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshsdk.control_plane.istio.hostnames import is_host, whole_name
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader
from meshsdk.control_plane.istio.string_match import (
    FIELDS,
    StringMatch,
    checked_regex,
    parse_string_match,
)

DESTINATION: Final = fields("host", "subset", "port")
_PORT: Final = fields("number")
_OPERATIONS: Final = fields("set", "add", "remove")
HEADERS: Final = fields("request", "response")
REWRITE: Final = fields("uri", "authority", "uriRegexRewrite")
_REGEX_REWRITE: Final = fields("match", "rewrite")
REDIRECT: Final = fields("uri", "authority", "port", "derivePort", "scheme", "redirectCode")
DIRECT: Final = fields("status", "body")
_BODY: Final = fields("string", "bytes")
RETRIES: Final = fields(
    "attempts", "perTryTimeout", "retryOn", "retryRemoteLocalities", "retryIgnorePreviousHosts",
    "backoff",
)  # fmt: skip
CORS: Final = fields(
    "allowOrigin", "allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge",
    "allowCredentials", "unmatchedPreflights",
)  # fmt: skip
_RETRY_ON: Final = frozenset(
    {
        "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure",
        "envoy-ratelimited", "retriable-4xx", "refused-stream", "retriable-status-codes",
        "retriable-headers", "http3-post-connect-failure",
        "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
    }
)  # fmt: skip
_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"}
)


@dataclass(frozen=True, slots=True)
class Destination:
    """A service, or a subset of it."""

    host: str
    subset: str = ""
    port: int = 0
    """0: the port that was dialled."""


@dataclass(frozen=True, slots=True)
class Operations:
    """What happens to headers of one direction."""

    set: Mapping[str, str] = field(default_factory=dict[str, str])
    add: Mapping[str, str] = field(default_factory=dict[str, str])
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeaderOperations:
    """What happens to headers."""

    request: Operations = Operations()
    response: Operations = Operations()


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A new path or authority."""

    uri: str = ""
    authority: str = ""
    regex: tuple[str, str] | None = None
    """Expression and substitution."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """An answer that sends elsewhere."""

    uri: str = ""
    authority: str = ""
    port: int = 0
    is_from_request_port: bool = False
    scheme: str = ""
    code: int = 0
    prefix: str | None = None
    """What stands instead of the prefix that matched; `uri` is the whole path."""


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """An answer without asking anybody."""

    status: int
    text: str | None = None
    octets: str | None = None
    """Base64."""


@dataclass(frozen=True, slots=True)
class Retries:
    """HTTPRetry; None where unset."""

    attempts: int = 0
    per_try_timeout: float | None = None
    retry_on: str = ""
    is_remote: bool = False
    ignores_previous_hosts: bool | None = None
    backoff: float | None = None


@dataclass(frozen=True, slots=True)
class Cors:
    """CorsPolicy."""

    origins: tuple[StringMatch, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: float | None = None
    credentials: bool | None = None
    forwards_unmatched: bool = True


def parse_destination(reader: SpecReader, namespace: str) -> Destination:
    """`host` may be short."""
    host = reader.required_string("host")
    if host == "*" or not is_host(host):
        raise reader.error_at("host", f"expected a host name, found {host!r}")
    port = reader.message("port", _PORT)
    number = 0 if port is None else port.integer("number", 0, at_least=1, at_most=65535)
    if port is not None and not number:
        raise port.error("expected number, found none")
    return Destination(whole_name(host, namespace), reader.string("subset"), number)


def parse_header_operations(reader: SpecReader) -> HeaderOperations:
    """Names are checked by Envoy alone, but an empty one."""
    return HeaderOperations(_operations(reader, "request"), _operations(reader, "response"))


def _operations(reader: SpecReader, name: str) -> Operations:
    found = reader.message(name, _OPERATIONS)
    if found is None:
        return Operations()
    for which in ("set", "add"):
        if "" in found.string_map(which):
            raise found.error_at(which, "expected names that are not empty")
    if "" in found.strings("remove"):
        raise found.error_at("remove", "expected names that are not empty")
    return Operations(found.string_map("set"), found.string_map("add"), found.strings("remove"))


def parse_rewrite(reader: SpecReader) -> Rewrite:
    """Something must be rewritten."""
    reader.one_of("uri", "uriRegexRewrite")
    regex = reader.message("uriRegexRewrite", _REGEX_REWRITE)
    pair = None
    if regex is not None:
        pair = checked_regex(regex, "match"), regex.string("rewrite")
    rewrite = Rewrite(reader.string("uri"), reader.string("authority"), pair)
    if rewrite == Rewrite():
        raise reader.error("expected uri, uriRegexRewrite or authority, found none")
    return rewrite


def parse_redirect(reader: SpecReader) -> Redirect:
    """Something must be other than before."""
    reader.one_of("port", "derivePort")
    derived = {"FROM_PROTOCOL_DEFAULT": False, "FROM_REQUEST_PORT": True}
    redirect = Redirect(
        reader.string("uri"),
        reader.string("authority"),
        reader.integer("port", 0, at_least=1, at_most=65535),
        reader.enum("derivePort", derived, "FROM_PROTOCOL_DEFAULT"),
        reader.string("scheme"),
        reader.integer("redirectCode"),
    )
    if redirect.code not in (0, 301, 302, 303, 307, 308):
        expected = f"expected 301, 302, 303, 307 or 308, found {redirect.code}"
        raise reader.error_at("redirectCode", expected)
    if redirect.scheme not in ("", "http", "https"):
        raise reader.error_at("scheme", f"expected http or https, found {redirect.scheme!r}")
    if not reader.names():
        raise reader.error("expected uri, authority, scheme or port, found none")
    return redirect


def parse_direct_response(reader: SpecReader) -> DirectResponse:
    """A status, with a body or none."""
    status = reader.integer("status")
    if not 200 <= status <= 599:
        raise reader.error_at("status", f"expected a status of 200 to 599, found {status}")
    body = reader.message("body", _BODY)
    if body is None:
        return DirectResponse(status)
    kind = body.required("string", "bytes")
    text = body.string(kind)
    if len(text) > 1 << 20:
        raise body.error_at(kind, "expected at most 1 MiB")
    return DirectResponse(status, *((text, None) if kind == "string" else (None, text)))


def parse_retries(reader: SpecReader) -> Retries:
    """Also of the mesh config's `defaultHttpRetryPolicy`."""
    retries = Retries(
        reader.integer("attempts", 0, at_least=0),
        positive(reader, "perTryTimeout"),
        reader.string("retryOn"),
        reader.boolean("retryRemoteLocalities"),
        reader.optional_boolean("retryIgnorePreviousHosts"),
        positive(reader, "backoff"),
    )
    if not retries.attempts and (retries.retry_on or retries.per_try_timeout):
        problem = "expected more than 0 attempts where retryOn or perTryTimeout is set"
        raise reader.error_at("attempts", problem)
    for word in retries.retry_on.split(","):
        name = word.strip()
        if name.isdecimal() and 100 <= int(name) <= 599:
            continue
        if name and name not in _RETRY_ON:
            raise reader.error_at("retryOn", f"unknown condition {name!r}")
    return retries


def parse_cors(reader: SpecReader) -> Cors:
    """Cross-origin rules."""
    exact = tuple(StringMatch("exact", origin) for origin in reader.strings("allowOrigin"))
    forwards = {"UNSPECIFIED": True, "FORWARD": True, "IGNORE": False}
    cors = Cors(
        reader.each("allowOrigins", FIELDS, parse_string_match) or exact,
        reader.strings("allowMethods"),
        reader.strings("allowHeaders"),
        reader.strings("exposeHeaders"),
        positive(reader, "maxAge"),
        reader.optional_boolean("allowCredentials"),
        reader.enum("unmatchedPreflights", forwards, "UNSPECIFIED"),
    )
    for i, method in enumerate(cors.methods):
        if method not in _METHODS and method != "*":
            raise reader.error_at("allowMethods", f"unknown method {method!r}", i)
    if cors.max_age is not None and not cors.max_age.is_integer():
        raise reader.error_at("maxAge", "expected whole seconds")
    return cors


def positive(reader: SpecReader, name: str) -> float | None:
    """A duration of at least 1 ms, None when unset. istiod refuses 0s."""
    seconds = reader.optional_duration(name)
    if seconds is not None and seconds < 0.001:
        raise reader.error_at(name, f"expected at least 1ms, found {seconds:g}s")
    return seconds
