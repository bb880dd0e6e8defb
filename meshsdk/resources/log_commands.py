"""Commands that only an access log can answer: the call is over then.

Source: Envoy, "Command operators" of the access logging documentation.
"""

from collections.abc import Callable, Mapping
from typing import Final

from meshsdk.call.message import Response
from meshsdk.errors import ConfigError
from meshsdk.matching.octets import lower, octets
from meshsdk.resources.format_commands import COMMANDS, NUMBERS
from meshsdk.resources.format_time import time_text
from meshsdk.resources.format_values import Build, Command, Values, plain
from meshsdk.resources.grpc_status import STATUSES, told_status
from meshsdk.resources.response_flags import LONG_NAMES
from meshsdk.telemetry.seen_call import SeenCall

_SERVICE_TIME: Final = "x-envoy-upstream-service-time"
_W3C_LENGTH: Final = 55


def _of_call(read: Callable[[SeenCall], object]) -> Build:
    def get(values: Values) -> str | None:
        found = None if values.call is None else read(values.call)
        return None if found is None or found == "" else str(found)

    return plain(get)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _service_time(call: SeenCall) -> int | None:
    """Milliseconds from an upstream's request to its response headers; the router's own field."""
    answered = call.answered_at and isinstance(call.outcome, Response)
    if not answered or call.context.local_status is not None:
        return None
    return _milliseconds(call.answered_at - call.asked_at)


def _resp(argument: str | None, path: str) -> Command:
    """%RESP()%, with the field that Envoy's router adds and we measure."""
    read = COMMANDS["RESP"](argument, path)
    if _SERVICE_TIME not in lower(octets(argument or "")).split("?"):
        return read

    def timed(values: Values) -> str | None:
        found = read(values)
        if found is not None or values.call is None:
            return found
        measured = _service_time(values.call)
        return None if measured is None else str(measured)

    return timed


def _trailer(argument: str | None, path: str) -> Command:
    if not argument:
        raise ConfigError(path, "expected a command with an argument, found none")
    names = [lower(octets(name)) for name in argument.split("?")]

    def read(values: Values) -> str | None:
        end = None if values.call is None else values.call.end
        trailers = None if end is None else end.trailers
        if trailers is None:
            return None
        return next((found for n in names if (found := trailers.get(n)) is not None), None)

    return read


def _grpc_status(argument: str | None, path: str) -> Command:
    if argument not in (None, "", "CAMEL_STRING", "SNAKE_STRING", "NUMBER"):
        raise ConfigError(path, f"expected CAMEL_STRING, SNAKE_STRING or NUMBER, found {argument}")

    def read(values: Values) -> str | None:
        end = None if values.call is None else values.call.end
        told = told_status(values.response, end)
        if told is None or argument == "NUMBER" or not told.isdecimal():
            return told
        if int(told) >= len(STATUSES):
            return told
        name = STATUSES[int(told)]
        return name if argument == "SNAKE_STRING" or name == "OK" else _camel(name)

    return read


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _req_without_query(argument: str | None, path: str) -> Command:
    read = COMMANDS["REQ"](argument, path)

    def bare(values: Values) -> str | None:
        found = read(values)
        return None if found is None else found.partition("?")[0]

    return bare


def _trace_id(call: SeenCall) -> str | None:
    """The trace that the request belongs to, by W3C or B3."""
    for request in (call.context.forwarded, call.request):
        if request is None:
            continue
        parent = request.headers.get("traceparent") or ""
        if len(parent) >= _W3C_LENGTH:
            return parent[3:35]
        single = request.headers.get("b3") or ""
        found = request.headers.get("x-b3-traceid") or single.partition("-")[0]
        if len(found) > 1:
            return found
    return None


def _emit_time(argument: str | None, path: str) -> Command:
    del path
    form = argument or "%Y-%m-%dT%H:%M:%S.%3fZ"
    return lambda values: time_text(values.context.clock.time(), form)


def _span_id(call: SeenCall) -> str | None:
    """Of the request as it went on, by W3C."""
    parent = (call.context.forwarded or call.request).headers.get("traceparent") or ""
    return parent[36:52] if len(parent) >= _W3C_LENGTH else None


def _long_flags(call: SeenCall) -> str:
    return ",".join([LONG_NAMES.get(flag, flag) for flag in call.context.flags]) or "-"


def response_code(values: Values) -> int:
    """As it went out: 200 of gRPC's local replies too. 0 where the caller went away before, or a
    filter made the response itself (Envoy notes no code then)."""
    if values.response is None or values.context.local_status == 0:
        return 0
    return values.response.status


def _details(values: Values) -> str | None:
    """Without what our own transport says of a connection that was closed: Envoy's has no word."""
    found = _DETAILS(values)
    if found is None:
        return None
    before, closed, _ = found.partition(_CLOSED)
    return f"{before}{closed[:-1]}}}" if closed else found


def _attempts(call: SeenCall) -> int:
    """A call for which there was no host counts as one."""
    return call.context.attempts or int("UH" in call.context.flags)


def _cluster(call: SeenCall) -> str | None:
    """A cluster that does not exist has no name."""
    return None if "NC" in call.context.flags else call.context.cluster


_DETAILS: Final = COMMANDS["RESPONSE_CODE_DETAILS"](None, "")
_CLOSED: Final = "{connection_termination|"
LOG_COMMANDS: Final[Mapping[str, Build]] = {
    "RESP": _resp,
    "TRAILER": _trailer,
    "GRPC_STATUS": _grpc_status,
    "GRPC_STATUS_NUMBER": lambda argument, path: _grpc_status("NUMBER", path),
    "REQ_WITHOUT_QUERY": _req_without_query,
    "DURATION": _of_call(lambda call: _milliseconds(call.seconds)),
    "RESPONSE_CODE": lambda argument, path: lambda values: str(response_code(values)),
    "RESPONSE_CODE_DETAILS": lambda argument, path: _details,
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": _of_call(_attempts),
    "UPSTREAM_CLUSTER": _of_call(_cluster),
    "UPSTREAM_CLUSTER_RAW": _of_call(_cluster),
    "RESPONSE_DURATION": _of_call(
        lambda call: (
            _milliseconds(call.answered_at - call.context.start) if call.answered_at else None
        )
    ),
    "RESPONSE_TX_DURATION": _of_call(
        lambda call: (
            _milliseconds(call.seconds - (call.answered_at - call.context.start))
            if call.answered_at
            else None
        )
    ),
    "BYTES_RECEIVED": _of_call(lambda call: 0 if call.end is None else call.end.bytes_received),
    "BYTES_SENT": _of_call(lambda call: 0 if call.end is None else call.end.bytes_sent),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": _of_call(lambda call: call.failure.replace(" ", "_")),
    # Envoy sets them for connections that end by a policy of their own; ours answer requests.
    "CONNECTION_TERMINATION_DETAILS": _of_call(lambda call: None),
    "UPSTREAM_LOCAL_ADDRESS": _of_call(lambda call: call.local_address),
    "TRACE_ID": _of_call(_trace_id),
    "SPAN_ID": _of_call(_span_id),
    "STREAM_ID": lambda argument, path: COMMANDS["REQ"]("x-request-id", path),
    "RESPONSE_FLAGS_LONG": _of_call(_long_flags),
    "EMIT_TIME": _emit_time,
    "ACCESS_LOG_TYPE": _of_call(lambda call: "DownstreamEnd"),
}
"""In place of, or beside, the commands that headers know."""
LOG_NUMBERS: Final = NUMBERS | {
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "GRPC_STATUS_NUMBER",
    "RESPONSE_DURATION",
    "RESPONSE_TX_DURATION",
}


def no_value(values: Values) -> None:
    """A command of Envoy's without code here: the line has `-` in its place."""
    del values
