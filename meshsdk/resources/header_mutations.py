"""Header mutations of routes: `*_headers_to_add` and `*_headers_to_remove` of one level.

Source: Envoy, HeaderParser: names to remove go first; what is to be added is worked out on what
is left; then come the overwrites, then the additions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from meshsdk.call.headers import Headers
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import lower, octets
from meshsdk.resources.substitution_format import Format, parse_header_format

Render = Callable[[Format, Headers], str]
"""A format's text for this call, on these fields of the message."""

HEADER_VALUE_OPTION: Final = MessageTable(
    "envoy.config.core.v3.HeaderValueOption",
    honoured("header", "append", "append_action", "keep_empty_value"),
)
HEADER_VALUE: Final = MessageTable(
    "envoy.config.core.v3.HeaderValue", honoured("key", "value", "raw_value")
)
TABLES: Final = (HEADER_VALUE_OPTION, HEADER_VALUE)

# Envoy keeps one line of each of these ("inline headers"): a further value joins the first.
_NAMES: Final = """
    accept accept-encoding access-control-request-headers access-control-request-method
    authorization cache-control content-encoding content-length content-type expect grpc-timeout
    if-match if-modified-since if-none-match if-range if-unmodified-since origin pragma range
    referer te user-agent via x-envoy-attempt-count x-envoy-decorator-operation
    x-envoy-downstream-service-cluster x-envoy-downstream-service-node
    x-envoy-expected-rq-timeout-ms x-envoy-external-address x-envoy-force-trace
    x-envoy-hedge-on-per-try-timeout x-envoy-internal x-envoy-ip-tags x-envoy-max-retries
    x-envoy-original-host x-envoy-original-path x-envoy-original-url
    x-envoy-retriable-header-names x-envoy-retriable-status-codes x-envoy-retry-grpc-on
    x-envoy-retry-on x-envoy-upstream-alt-stat-name x-envoy-upstream-rq-per-try-timeout-ms
    x-envoy-upstream-rq-timeout-alt-response x-envoy-upstream-rq-timeout-ms
    x-envoy-upstream-stream-duration-ms x-client-trace-id x-forwarded-client-cert x-forwarded-for
    x-forwarded-host x-forwarded-port x-forwarded-proto x-request-id
"""
ONE_LINE: Final = frozenset(_NAMES.split())
"""Of requests."""
ONE_LINE_OF_RESPONSES: Final = frozenset(
    [
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
        "access-control-expose-headers",
        "access-control-max-age",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "etag",
        "grpc-message",
        "grpc-status",
        "keep-alive",
        "last-modified",
        "location",
        "proxy-connection",
        "proxy-status",
        "server",
        "transfer-encoding",
        "upgrade",
        "vary",
        "via",
        "x-envoy-attempt-count",
        "x-envoy-decorator-operation",
        "x-envoy-degraded",
        "x-envoy-immediate-health-check-fail",
        "x-envoy-ratelimited",
        "x-envoy-upstream-canary",
        "x-envoy-upstream-healthchecked-cluster",
        "x-envoy-upstream-service-time",
        "x-request-id",
    ]
)
_MAX_VALUE: Final = 16384  # HeaderValue.value, validate rule


class AppendAction(Enum):
    """HeaderAppendAction."""

    APPEND_IF_EXISTS_OR_ADD = "APPEND_IF_EXISTS_OR_ADD"
    ADD_IF_ABSENT = "ADD_IF_ABSENT"
    OVERWRITE_IF_EXISTS_OR_ADD = "OVERWRITE_IF_EXISTS_OR_ADD"
    OVERWRITE_IF_EXISTS = "OVERWRITE_IF_EXISTS"


_ACTIONS: Final = {action.value: action for action in AppendAction}


@dataclass(frozen=True, slots=True)
class HeaderAddition:
    """One HeaderValueOption."""

    name: str
    value: Format
    action: AppendAction = AppendAction.APPEND_IF_EXISTS_OR_ADD
    keep_empty: bool = False


@dataclass(frozen=True, slots=True)
class HeaderMutations:
    """What one level (route, virtual host ...) does to one message."""

    add: tuple[HeaderAddition, ...] = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)

    @property
    def not_built(self) -> tuple[str, ...]:
        """Format commands without code."""
        return tuple(name for addition in self.add for name in addition.value.not_built)

    def apply(
        self, headers: Headers, render: Render, one_line: frozenset[str] = ONE_LINE
    ) -> Headers:
        """The fields afterwards; `one_line`: those of which there is one line at most."""
        if self.remove:
            headers = headers.without(*self.remove)
        if not self.add:
            return headers
        overwritten: list[tuple[str, str]] = []
        added: list[tuple[str, str]] = []
        for addition in self.add:
            value = addition.value.constant
            if value is None:
                value = render(addition.value, headers)
            if not value and not addition.keep_empty:
                continue
            present = addition.name in headers
            match addition.action:
                case AppendAction.APPEND_IF_EXISTS_OR_ADD:
                    added.append((addition.name, value))
                case AppendAction.ADD_IF_ABSENT:
                    if not present:
                        added.append((addition.name, value))
                case AppendAction.OVERWRITE_IF_EXISTS_OR_ADD:
                    overwritten.append((addition.name, value))
                case AppendAction.OVERWRITE_IF_EXISTS:
                    if present:
                        overwritten.append((addition.name, value))
        for name, value in overwritten:
            headers = headers.set(name, value)
        for name, value in added:
            headers = append(headers, name, value, one_line)
        return headers


NONE: Final = HeaderMutations()


def append(headers: Headers, name: str, value: str, one_line: frozenset[str] = ONE_LINE) -> Headers:
    """One more value: a line of its own, or joined with a comma where Envoy keeps one line."""
    if name in one_line:
        before = headers.get(name)
        if before is not None:
            return headers.set(name, ",".join(filter(None, (before, value))))
    return headers.add(name, value)


def parse_header_mutations(reader: Reader, of: Literal["request", "response"]) -> HeaderMutations:
    """The mutations of one message at one level: `reader` is the level's own message."""
    add = f"{of}_headers_to_add"
    remove = f"{of}_headers_to_remove"
    if not reader.has(add) and not reader.has(remove):
        return NONE
    additions = reader.each(add, parse_header_addition)
    names = tuple(lower(octets(name)) for name in reader.strings(remove))
    for i, name in enumerate(names):
        if not name or name.startswith(":") or name == "host":
            raise reader.error_at(
                f"{remove}[{i}]", f":-prefixed or host headers may not be removed, found {name!r}"
            )
    return HeaderMutations(additions, names)


def parse_header_addition(reader: Reader) -> HeaderAddition:
    """A HeaderValueOption; ConfigError for names that must not change and bad formats."""
    check(reader, HEADER_VALUE_OPTION)
    header = reader.required_message("header")
    check(header, HEADER_VALUE)
    name = lower(octets(header.required_string("key")))
    if name.startswith(":") or name == "host":
        raise header.error_at(
            "key", f":-prefixed or host headers may not be modified, found {name!r}"
        )
    if reader.has("append") and reader.has("append_action"):
        raise reader.error("append and append_action exclude each other")
    action = reader.enum("append_action", _ACTIONS, "APPEND_IF_EXISTS_OR_ADD")
    if reader.has("append") and not reader.boolean("append"):
        action = AppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    return HeaderAddition(
        name, _value(header), action, keep_empty=reader.boolean("keep_empty_value")
    )


def _value(header: Reader) -> Format:
    raw = header.octets("raw_value")
    text = header.string("value")
    if raw and text:
        raise header.error("value and raw_value exclude each other")
    if raw:
        try:
            return parse_header_format(raw.decode(), f"{header.path}.raw_value")
        except UnicodeDecodeError as error:
            raise header.error_at("raw_value", "expected UTF-8") from error
    if len(text) > _MAX_VALUE:
        raise header.error_at("value", f"expected at most {_MAX_VALUE} octets")
    return parse_header_format(text, f"{header.path}.value")
