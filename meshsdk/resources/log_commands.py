"""Commands that only an access log can answer: the call is over then.

Source: Envoy, "Command operators" of the access logging documentation.
"""

from collections.abc import Callable, Mapping
from typing import Final

from meshsdk.call.message import Response
from meshsdk.errors import ConfigError
from meshsdk.matching.octets import lower, octets
from meshsdk.resources.format_commands import COMMANDS, NUMBERS, Build, Command, Values
from meshsdk.resources.format_time import time_text
from meshsdk.resources.grpc_status import STATUSES, told_status
from meshsdk.telemetry.seen_call import SeenCall

_SERVICE_TIME: Final = "x-envoy-upstream-service-time"
_W3C_LENGTH: Final = 55


def _of_call(read: Callable[[SeenCall], object]) -> Build:
    def get(values: Values) -> str | None:
        found = None if values.call is None else read(values.call)
        return None if found is None or found == "" else str(found)

    def build(argument: str | None, path: str) -> Command:
        if argument is not None:
            raise ConfigError(path, f"expected a command without argument, found ({argument})")
        return get

    return build


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


def _code(values: Values) -> str:
    """0 where the caller went away before there was an answer."""
    if values.response is None:
        return "0"
    local = values.context.local_status
    return str(values.response.status if local is None else local)


LOG_COMMANDS: Final[Mapping[str, Build]] = {
    "RESP": _resp,
    "TRAILER": _trailer,
    "GRPC_STATUS": _grpc_status,
    "GRPC_STATUS_NUMBER": lambda argument, path: _grpc_status("NUMBER", path),
    "REQ_WITHOUT_QUERY": _req_without_query,
    "DURATION": _of_call(lambda call: _milliseconds(call.seconds)),
    "RESPONSE_CODE": lambda argument, path: _code,
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
    "UPSTREAM_TRANSPORT_FAILURE_REASON": _of_call(lambda call: call.failure),
    # Envoy sets them for connections that end by a policy of their own; ours answer requests.
    "CONNECTION_TERMINATION_DETAILS": _of_call(lambda call: None),
    # In Istio's default format. Connections are the adapter's, which does not tell.
    "UPSTREAM_LOCAL_ADDRESS": _of_call(lambda call: None),
    "TRACE_ID": _of_call(_trace_id),
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
