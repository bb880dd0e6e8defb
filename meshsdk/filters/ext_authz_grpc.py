"""The gRPC authorization service: envoy.service.auth.v3.Authorization.

Source: Envoy, GrpcClientImpl; what `append` and `append_action` mean was observed with Envoy 1.40.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.effects import BodyRead, Flow, GrpcFetched
from meshsdk.call.headers import Pair
from meshsdk.call.message import Request
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.filters.ext_authz_answer import ERROR, Allowed, Answer, Refusal, sendable_status
from meshsdk.filters.ext_authz_check import Shown, check_request
from meshsdk.filters.side_service import GrpcService
from meshsdk.filters.status_code import STATUS_CODES
from meshsdk.matching.octets import lower, octets

_SERVICE: Final = "envoy.service.auth.v3.Authorization"
_METHOD: Final = "Check"
_FORBIDDEN: Final = 403
_ADD: Final = "APPEND_IF_EXISTS_OR_ADD"
_SET: Final = "OVERWRITE_IF_EXISTS_OR_ADD"


@dataclass(frozen=True, slots=True)
class GrpcAuthorization:
    """Asks by gRPC."""

    service: GrpcService

    def ask(
        self,
        request: Request,
        shown: Shown,
        body: BodyRead | None,
        context: CallContext,
        extensions: Mapping[str, str],
    ) -> Flow[Answer]:
        """The service's answer; an error where none came."""
        check = check_request(shown, request, context, body, extensions)
        fetched = yield self.service.fetch(_SERVICE, _METHOD, check)
        if not isinstance(fetched, GrpcFetched) or fetched.status:
            return ERROR
        try:
            return answer_of(Reader(fetched.message, "check_response"))
        except ConfigError:
            return ERROR


def answer_of(response: Reader) -> Answer:
    """What a CheckResponse says. ConfigError: it cannot be read."""
    status = response.message("status")
    ok = response.message("ok_response")
    metadata: Mapping[str, object] = response.struct("dynamic_metadata")
    if ok is not None and ok.has("dynamic_metadata"):
        metadata = ok.struct("dynamic_metadata")  # deprecated, and wins
    if status is None or not status.integer("code"):
        return Allowed(metadata=metadata) if ok is None else _allowed(ok, metadata)
    error = response.message("error_response")
    if error is not None:
        return _refusal(error, None, metadata, is_error=True)
    denied = response.message("denied_response")
    if denied is None:
        return Refusal(_FORBIDDEN, metadata=metadata)
    try:
        return _refusal(denied, _FORBIDDEN, metadata, is_error=False)
    except ConfigError:
        # A denial stays one, or a filter that fails open would let it pass.
        return Refusal(_FORBIDDEN, metadata=metadata)


def _refusal(
    reader: Reader, default: int | None, metadata: Mapping[str, object], *, is_error: bool
) -> Refusal:
    return Refusal(
        _status(reader.message("status"), default),
        octets(reader.string("body")).encode("latin-1"),
        # append_action is not looked at, and what is to be appended has nothing to join.
        tuple(_pair(h) for h in reader.messages("headers") if not h.boolean("append")),
        is_error,
        metadata,
    )


def _status(reader: Reader | None, default: int | None) -> int | None:
    """The status where an answer can have it. Numbers that the enum does not name are as good."""
    found: object = None if reader is None else reader.value.get("code")
    code = STATUS_CODES.get(found) if isinstance(found, str) else found
    return code if isinstance(code, int) and sendable_status(code) else default


def _allowed(ok: Reader, metadata: Mapping[str, object]) -> Allowed:
    headers = ok.messages("headers")
    response: dict[str, list[Pair]] = {}
    for header in ok.messages("response_headers_to_add"):
        response.setdefault(_action(header), []).append(_pair(header))
    return Allowed(
        # Of request fields only `append` counts; append_action is not looked at.
        set=tuple(_pair(h) for h in headers if not h.boolean("append")),
        append=tuple(_pair(h) for h in headers if h.boolean("append")),
        remove=tuple(lower(octets(name)) for name in ok.strings("headers_to_remove")),
        response_add=tuple(response.get(_ADD, ())),
        response_set=tuple(response.get(_SET, ())),
        response_add_if_absent=tuple(response.get("ADD_IF_ABSENT", ())),
        response_overwrite=tuple(response.get("OVERWRITE_IF_EXISTS", ())),
        query_set=tuple(
            (octets(p.string("key")), octets(p.string("value")))
            for p in ok.messages("query_parameters_to_set")
        ),
        query_remove=tuple(octets(name) for name in ok.strings("query_parameters_to_remove")),
        metadata=metadata,
    )


def _action(header: Reader) -> str:
    if header.has("append"):
        return _ADD if header.boolean("append") else _SET
    return header.string("append_action") or _ADD


def _pair(option: Reader) -> Pair:
    header = option.required_message("header")
    value = octets(header.string("value")) or header.octets("raw_value").decode("latin-1")
    return lower(octets(header.string("key"))), value
