"""Access loggers: which calls are written down, how, and where to.

An error in one costs that logger, with a report, and never the listener. Source:
envoy.config.accesslog.v3.AccessLog and the loggers of Envoy's extensions.access_loggers.
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.message import Response
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.resources import log_filters
from meshsdk.resources.format_string import FormatString, parse_format_string
from meshsdk.resources.format_values import Values
from meshsdk.resources.log_filters import LogFilter, parse_log_filter
from meshsdk.telemetry.seen_call import SeenCall

ACCESS_LOG: Final = MessageTable(
    "envoy.config.accesslog.v3.AccessLog", honoured("name", "filter", "typed_config")
)
FILE: Final = MessageTable(
    "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    {
        **honoured("path", "format", "json_format", "typed_json_format", "log_format"),
    },
)
_STREAM_FIELDS: Final = honoured("log_format")
STDOUT: Final = MessageTable(
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog", _STREAM_FIELDS
)
STDERR: Final = MessageTable(
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog", _STREAM_FIELDS
)
TABLES: Final = (ACCESS_LOG, FILE, STDOUT, STDERR, *log_filters.TABLES)
_PREFIX: Final = "type.googleapis.com/"
_STREAMS: Final = {
    _PREFIX + STDOUT.message: (STDOUT, "/dev/stdout"),
    _PREFIX + STDERR.message: (STDERR, "/dev/stderr"),
}
# Envoy, SubstitutionFormatUtils::defaultSubstitutionFormatter.
DEFAULT_FORMAT: Final = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)
Report = tuple[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class AccessLog:
    """One logger."""

    path: str
    """A file; `/dev/stdout` and `/dev/stderr` are the process's own."""
    format: FormatString
    filter: LogFilter | None = None
    names_local_address: bool = False
    """Whether %UPSTREAM_LOCAL_ADDRESS% is in it."""

    def line(self, call: SeenCall) -> str | None:
        """The entry of a call, as latin-1 octets; None: its filter passes it over."""
        context = call.context
        outcome = call.outcome
        values = Values(
            context,
            context.forwarded or call.request,
            outcome if isinstance(outcome, Response) else None,
            call=call,
        )
        if context.route_metadata is not None:
            values.route_metadata = context.route_metadata
        if self.filter is not None and not self.filter(values):
            return None
        return self.format.render(values)


def parse_access_logs(
    reader: Reader, extensions: Extensions
) -> tuple[tuple[AccessLog, ...], tuple[Report, ...]]:
    """The loggers in a message's `access_log`, and what of them has no effect."""
    found: list[AccessLog] = []
    reports: list[Report] = []
    for entry in reader.messages("access_log"):
        try:
            logger = _logger(entry, extensions)
        except ConfigError as error:
            reports.append((error.path, f"access logger without effect: {error.problem}"))
            continue
        found.append(logger)
        reports += [(path, "not built: the log says `-`") for path in logger.format.not_built]
    return tuple(found), tuple(reports)


def _logger(entry: Reader, extensions: Extensions) -> AccessLog:
    check(entry, ACCESS_LOG)
    config = entry.typed("typed_config")
    if config is None:
        raise entry.error_at("typed_config", "expected the config of an access logger, found none")
    path, form = _file(config) if config.type_url == _PREFIX + FILE.message else _stream(config)
    filtered = entry.message("filter")
    return AccessLog(
        path,
        form,
        None if filtered is None else parse_log_filter(filtered, extensions),
        "%UPSTREAM_LOCAL_ADDRESS" in str(config.value),
    )


def _stream(config: Reader) -> tuple[str, FormatString]:
    known = _STREAMS.get(config.type_url)
    if known is None:
        raise config.error(f"not built: access logger {config.type_url}")
    table, path = known
    missing = check(config, table)
    assert not missing, "a table without such fields"
    return path, _format(config)


def _file(config: Reader) -> tuple[str, FormatString]:
    check(config, FILE)
    path = config.required_string("path")
    return path, _format(config)


def _format(config: Reader) -> FormatString:
    given = config.message("log_format")
    if given is not None:
        return parse_format_string(given, is_log=True)
    if config.has("format"):
        old: dict[str, object] = {"text_format": config.string("format")}
    elif config.has("json_format") or config.has("typed_json_format"):
        name = "json_format" if config.has("json_format") else "typed_json_format"
        old = {"json_format": config.struct(name)}
    else:
        old = {"text_format": DEFAULT_FORMAT}
    return parse_format_string(Reader(old, config.path), is_log=True)
