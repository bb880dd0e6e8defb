"""Which calls an access logger writes down.

Source: envoy.config.accesslog.v3.AccessLogFilter and Envoy's AccessLog::FilterFactory.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from meshsdk.call.headers import EMPTY
from meshsdk.call.message import Response
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.matching.fraction import parse_fraction, runtime_fraction, runtime_integer
from meshsdk.matching.headers import parse_header_matcher
from meshsdk.matching.metadata import parse_metadata_matcher
from meshsdk.resources.format_values import Values
from meshsdk.resources.grpc_status import STATUSES, grpc_status
from meshsdk.resources.log_commands import response_code

LogFilter: TypeAlias = Callable[[Values], bool]

_KINDS: Final = (
    "status_code_filter",
    "duration_filter",
    "not_health_check_filter",
    "runtime_filter",
    "and_filter",
    "or_filter",
    "header_filter",
    "response_flag_filter",
    "grpc_status_filter",
    "metadata_filter",
    "log_type_filter",
    "traceable_filter",
    "extension_filter",
)
ACCESS_LOG_FILTER: Final = MessageTable(
    "envoy.config.accesslog.v3.AccessLogFilter",
    {
        **honoured(*_KINDS[:-2]),
        "traceable_filter": not_built("a log of traced calls only"),
        "extension_filter": not_built("log filters by an extension (CEL)"),
    },
)
_COMPARISON: Final = MessageTable(
    "envoy.config.accesslog.v3.ComparisonFilter", honoured("op", "value")
)
_RUNTIME: Final = MessageTable(
    "envoy.config.accesslog.v3.RuntimeFilter",
    {
        **honoured("runtime_key", "percent_sampled"),
        "use_independent_randomness": ignored("each call draws for itself"),
    },
)
TABLES: Final = (ACCESS_LOG_FILTER, _COMPARISON, _RUNTIME)
_OPS: Final[dict[str, Callable[[int, int], bool]]] = {
    "EQ": lambda found, wanted: found == wanted,
    "GE": lambda found, wanted: found >= wanted,
    "LE": lambda found, wanted: found <= wanted,
    "NE": lambda found, wanted: found != wanted,
}
_OUR_TYPES: Final = frozenset({"NotSet", "DownstreamEnd"})
"""Entries are written when a call is over."""


def parse_log_filter(reader: Reader, extensions: Extensions) -> LogFilter:
    """The filter in a message; ConfigError also for those without code."""
    missing = check(reader, ACCESS_LOG_FILTER)
    kind = reader.required(*_KINDS)
    if missing:
        raise ConfigError(missing[0], f"not built: {ACCESS_LOG_FILTER.use_of(kind).why}")
    inner = reader.required_message(kind)
    return _PARSERS[kind](inner, extensions)


def _status_code(reader: Reader, extensions: Extensions) -> LogFilter:
    compare = _comparison(reader.required_message("comparison"), extensions)
    return lambda values: compare(response_code(values))


def _duration(reader: Reader, extensions: Extensions) -> LogFilter:
    compare = _comparison(reader.required_message("comparison"), extensions)
    return lambda values: values.call is not None and compare(int(values.call.seconds * 1000))


def _comparison(reader: Reader, extensions: Extensions) -> Callable[[int], bool]:
    check(reader, _COMPARISON)
    op = reader.enum("op", _OPS, "EQ")
    value = reader.required_message("value")
    default = value.integer("default_value")
    wanted = runtime_integer(extensions.runtime, value.string("runtime_key"), default)
    return lambda found: op(found, wanted)


def _not_health_check(reader: Reader, extensions: Extensions) -> LogFilter:
    del reader, extensions
    return lambda values: True  # there is no health check filter


def _runtime(reader: Reader, extensions: Extensions) -> LogFilter:
    check(reader, _RUNTIME)
    default = parse_fraction(reader.message("percent_sampled") or Reader({}, reader.path))
    fraction = runtime_fraction(extensions.runtime, reader.required_string("runtime_key"), default)
    return lambda values: fraction.samples(values.context.random)


def _and(reader: Reader, extensions: Extensions) -> LogFilter:
    filters = _several(reader, extensions)
    return lambda values: all(one(values) for one in filters)


def _or(reader: Reader, extensions: Extensions) -> LogFilter:
    filters = _several(reader, extensions)
    return lambda values: any(one(values) for one in filters)


def _several(reader: Reader, extensions: Extensions) -> tuple[LogFilter, ...]:
    return tuple(
        parse_log_filter(one, extensions) for one in reader.messages("filters", at_least=2)
    )


def _header(reader: Reader, extensions: Extensions) -> LogFilter:
    del extensions
    matcher = parse_header_matcher(reader.required_message("header"))
    return lambda values: matcher.matches(values.request)


def _response_flag(reader: Reader, extensions: Extensions) -> LogFilter:
    del extensions
    flags = frozenset(reader.strings("flags"))
    if not flags:
        return lambda values: bool(values.context.flags)
    return lambda values: not flags.isdisjoint(values.context.flags)


def _grpc_status(reader: Reader, extensions: Extensions) -> LogFilter:
    del extensions
    wanted = frozenset(STATUSES.index(name) for name in reader.strings("statuses"))
    excludes = reader.boolean("exclude")

    def passes(values: Values) -> bool:
        end = None if values.call is None else values.call.end
        found = grpc_status(_response_of(values), end)
        return (found in wanted) is not excludes

    return passes


def _response_of(values: Values) -> Response:
    return values.response or Response(0, EMPTY)


def _metadata(reader: Reader, extensions: Extensions) -> LogFilter:
    del extensions
    matching = reader.message("matcher")
    if matching is None:
        return lambda values: True
    matcher = parse_metadata_matcher(matching)
    without = reader.boolean("match_if_key_not_found", default=True)

    def passes(values: Values) -> bool:
        metadata = values.context.dynamic_metadata
        if matcher.value_in(metadata) is None:
            return without
        return matcher.matches(metadata)

    return passes


def _log_type(reader: Reader, extensions: Extensions) -> LogFilter:
    del extensions
    ours = not _OUR_TYPES.isdisjoint(reader.strings("types"))
    passes = ours is not reader.boolean("exclude")
    return lambda values: passes


_PARSERS: Final[dict[str, Callable[[Reader, Extensions], LogFilter]]] = {
    "status_code_filter": _status_code,
    "duration_filter": _duration,
    "not_health_check_filter": _not_health_check,
    "runtime_filter": _runtime,
    "and_filter": _and,
    "or_filter": _or,
    "header_filter": _header,
    "response_flag_filter": _response_flag,
    "grpc_status_filter": _grpc_status,
    "metadata_filter": _metadata,
    "log_type_filter": _log_type,
}
