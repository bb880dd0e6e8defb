"""The commands of a substitution format: where each value is read.

Source: Envoy, "Command operators" of the access logging documentation.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Final, cast

from meshsdk.call.address import UNKNOWN, Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.endpoint import NO_METADATA, Host
from meshsdk.errors import ConfigError
from meshsdk.matching.octets import lower, octets
from meshsdk.matching.query import query_parameters
from meshsdk.resources.format_time import time_text
from meshsdk.resources.format_values import Build, Command, Metadata, Values, needed, plain

_PROTOCOLS: Final = {"http1": "HTTP/1.1", "h2": "HTTP/2"}

_NOT_BUILT: Final = """
    CEL REQ_WITHOUT_QUERY TRAILER GRPC_STATUS GRPC_STATUS_NUMBER REQUEST_HEADERS_BYTES
    RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES STREAM_ID TRACE_ID SPAN_ID REQUEST_DURATION
    REQUEST_TX_DURATION RESPONSE_DURATION RESPONSE_TX_DURATION COMMON_DURATION CUSTOM_FLAGS
    BYTES_RECEIVED BYTES_SENT BYTES_RETRANSMITTED PACKETS_RETRANSMITTED UPSTREAM_WIRE_BYTES_SENT
    UPSTREAM_WIRE_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HEADER_BYTES_RECEIVED
    DOWNSTREAM_WIRE_BYTES_SENT DOWNSTREAM_WIRE_BYTES_RECEIVED DOWNSTREAM_HEADER_BYTES_SENT
    DOWNSTREAM_HEADER_BYTES_RECEIVED CONNECTION_TERMINATION_DETAILS CONNECTION_ID
    UPSTREAM_CONNECTION_ID UPSTREAM_PROTOCOL UPSTREAM_LOCAL_ADDRESS
    UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_LOCAL_PORT UPSTREAM_DIRECT_LOCAL_ADDRESS
    UPSTREAM_TLS_CIPHER UPSTREAM_TLS_VERSION UPSTREAM_TLS_SESSION_ID UPSTREAM_PEER_ISSUER
    UPSTREAM_PEER_CERT UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN UPSTREAM_PEER_DNS_SAN
    UPSTREAM_PEER_IP_SAN UPSTREAM_LOCAL_SUBJECT UPSTREAM_LOCAL_URI_SAN UPSTREAM_LOCAL_DNS_SAN
    UPSTREAM_LOCAL_IP_SAN UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_DETECTED_CLOSE_TYPE
    UPSTREAM_FILTER_STATE UPSTREAM_CONNECTION_POOL_READY_DURATION
    DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_LOCAL_CLOSE_REASON
    DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_HANDSHAKE_DURATION DOWNSTREAM_ROUNDTRIP_DURATION
    DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_IP_SAN
    DOWNSTREAM_LOCAL_EMAIL_SAN DOWNSTREAM_LOCAL_OTHERNAME_SAN DOWNSTREAM_PEER_OTHERNAME_SAN
    DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_CIPHER DOWNSTREAM_PEER_FINGERPRINT_1
    DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256
    DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1 DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_ISSUER
    DOWNSTREAM_PEER_CERT_V_START TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT HOSTNAME ENVIRONMENT
    EMIT_TIME START_TIME_LOCAL EMIT_TIME_LOCAL UNIQUE_ID ACCESS_LOG_TYPE CLUSTER_METADATA
    LISTENER_METADATA FILTER_CHAIN_METADATA DYNAMIC_MODULE
"""
NOT_BUILT: Final = frozenset(_NOT_BUILT.split())
"""Commands of Envoy's without code here: a call that needs one fails by its name."""


# -- headers ----------------------------------------------------------------------------------


def _names(argument: str | None, path: str) -> tuple[str, ...]:
    names = needed(argument, path).split("?")
    if len(names) > 2:
        raise ConfigError(path, f"expected one alternative at most, found {argument}")
    return tuple(lower(octets(name)) for name in names if name)


def _req(argument: str | None, path: str) -> Command:
    names = _names(argument, path)

    def read(values: Values) -> str | None:
        for name in names:
            found = values.request.field(name)
            if found:
                return found[0]
        return None

    return read


def _resp(argument: str | None, path: str) -> Command:
    names = _names(argument, path)

    def read(values: Values) -> str | None:
        response = values.response
        if response is None:
            return None
        for name in names:
            found = str(response.status) if name == ":status" else response.headers.get(name)
            if found is not None:
                return found
        return None

    return read


def _query_param(argument: str | None, path: str) -> Command:
    name = octets(needed(argument, path))
    return lambda values: query_parameters(values.request.path).get(name)


def _query_params(argument: str | None, path: str) -> Command:
    if argument not in (None, "", "ORIG", "DECODED"):
        raise ConfigError(path, f"expected ORIG or DECODED, found {argument}")
    return lambda values: values.request.path.partition("?")[2] or None


def _path(argument: str | None, path: str) -> Command:
    """%PATH(with or without query: original or present)%."""
    query, _, which = (argument or "WQ").partition(":")
    if query not in ("WQ", "NQ") or which not in ("", "ORIG", "PATH", "ORIG_OR_PATH"):
        raise ConfigError(
            path, f"expected WQ or NQ and ORIG, PATH or ORIG_OR_PATH, found {argument}"
        )

    def read(values: Values) -> str | None:
        original = values.request.headers.get("x-envoy-original-path")
        found = {"ORIG": original, "PATH": values.request.path}.get(
            which, original or values.request.path
        )
        return found if found is None or query == "WQ" else found.partition("?")[0]

    return read


# -- addresses and certificates ---------------------------------------------------------------


def _address(pick: Callable[[Values], Address]) -> Build:
    return plain(lambda v: None if pick(v) == UNKNOWN else str(pick(v)))


def _host_of(pick: Callable[[Values], Address]) -> Build:
    return plain(lambda v: pick(v).host or None)


def _port_of(pick: Callable[[Values], Address]) -> Build:
    return plain(lambda v: None if pick(v) == UNKNOWN else str(pick(v).port))


def _peer(read: Callable[[Certificate], str]) -> Build:
    """A fact of the client's certificate; None on plaintext and when it is empty."""

    def get(values: Values) -> str | None:
        certificate = values.context.connection.peer.certificate
        return None if certificate is None else read(certificate) or None

    return plain(get)


def _expiry(argument: str | None, path: str) -> Command:
    form = argument or "%Y-%m-%dT%H:%M:%S.000Z"

    def read(values: Values) -> str | None:
        certificate = values.context.connection.peer.certificate
        if certificate is None or math.isinf(certificate.not_after):
            return None
        return time_text(certificate.not_after, form)

    return read


# -- metadata and state -----------------------------------------------------------------------


def _walk(metadata: Metadata, keys: tuple[str, ...]) -> str | None:
    found: object = metadata
    for key in keys:
        if not isinstance(found, Mapping):
            return None
        found = cast("Mapping[str, object]", found).get(key)
    return _text(found)


def _text(found: object) -> str | None:
    """A metadata value: strings bare, the rest as compact JSON, integral numbers without `.0`."""
    match found:
        case None:
            return None
        case str():
            return octets(found)
        case _:
            return octets(json.dumps(_integral(found), separators=(",", ":"), sort_keys=True))


def _integral(found: object) -> object:
    match found:
        case float() if found.is_integer():
            return int(found)
        case Mapping():
            members = cast("Mapping[str, object]", found)
            return {key: _integral(value) for key, value in members.items()}
        case list() | tuple():
            return [_integral(item) for item in cast("list[object]", found)]
        case _:
            return found


def _metadata_of(pick: Callable[[Values], Metadata]) -> Build:
    def build(argument: str | None, path: str) -> Command:
        keys = tuple(needed(argument, path).split(":"))
        return lambda values: _walk(pick(values), keys)

    return build


def _host_metadata(values: Values) -> Metadata:
    host = values.context.host
    return NO_METADATA if host is None else host.endpoint.metadata


def _metadata(argument: str | None, path: str) -> Command:
    """%METADATA(TYPE:namespace:key...)%."""
    kind, *keys = needed(argument, path).split(":")
    sources: dict[str, Callable[[Values], Metadata]] = {
        "DYNAMIC": lambda values: values.context.dynamic_metadata,
        "ROUTE": lambda values: values.route_metadata,
        "VIRTUAL_HOST": lambda values: values.virtual_host_metadata,
        "UPSTREAM_HOST": _host_metadata,
    }
    pick = sources.get(kind)
    if pick is None:
        raise ConfigError(path, f"expected one of {', '.join(sources)}, found {kind}")
    return lambda values: _walk(pick(values), tuple(keys))


def _filter_state(argument: str | None, path: str) -> Command:
    key, _, form = needed(argument, path).partition(":")
    if form not in ("", "PLAIN", "TYPED"):
        raise ConfigError(path, f"expected PLAIN or TYPED, found {form}")
    quoted = form != "PLAIN"

    def read(values: Values) -> str | None:
        found = values.context.filter_state.get(key)
        return None if found is None else json.dumps(found) if quoted else found

    return read


# -- time -------------------------------------------------------------------------------------


def _start_time(argument: str | None, path: str) -> Command:
    form = argument or "%Y-%m-%dT%H:%M:%S.%3fZ"

    def read(values: Values) -> str:
        clock = values.context.clock
        return time_text(clock.time() - (clock.monotonic() - values.context.start), form)

    return read


def _duration(values: Values) -> str | None:
    if values.response is None:
        return None
    return str(int((values.context.clock.monotonic() - values.context.start) * 1000))


def _upstream(read: Callable[[Host], str]) -> Build:
    def get(values: Values) -> str | None:
        host = values.context.host
        return None if host is None else read(host) or None

    return plain(get)


def _remote(values: Values) -> Address:
    return values.context.remote


def _direct(values: Values) -> Address:
    return values.context.connection.peer.physical


def _local(values: Values) -> Address:
    return values.context.connection.local


def _code(values: Values) -> str:
    if values.response is None or not values.has_code:
        return "0"
    local = values.context.local_status
    return str(values.response.status if local is None else local)


def _details(values: Values) -> str | None:
    return values.context.details or (None if values.response is None else "via_upstream")


COMMANDS: Final[Mapping[str, Build]] = {
    "REQ": _req,
    "RESP": _resp,
    "PATH": _path,
    "QUERY_PARAM": _query_param,
    "QUERY_PARAMS": _query_params,
    "PROTOCOL": plain(lambda v: _PROTOCOLS[v.request.protocol]),
    "RESPONSE_CODE": plain(_code),
    "RESPONSE_CODE_DETAILS": plain(_details),
    "RESPONSE_FLAGS": plain(lambda v: ",".join(v.context.flags) or "-"),
    "DURATION": plain(_duration),
    "START_TIME": _start_time,
    "LOCAL_REPLY_BODY": plain(lambda v: v.local_reply_body),
    "ROUTE_NAME": plain(lambda v: v.context.route_name or None),
    "VIRTUAL_CLUSTER_NAME": plain(lambda v: v.context.virtual_cluster or None),
    "FILTER_CHAIN_NAME": plain(lambda v: v.context.filter_chain or None),
    "UPSTREAM_CLUSTER": plain(
        lambda v: None if v.context.cluster_is_missing else v.context.cluster or None
    ),
    "UPSTREAM_CLUSTER_RAW": plain(lambda v: v.context.cluster or None),
    "UPSTREAM_HOST": _upstream(lambda h: str(h.endpoint.address)),
    "UPSTREAM_HOST_NAME": _upstream(lambda h: h.endpoint.hostname or str(h.endpoint.address)),
    "UPSTREAM_HOST_NAME_WITHOUT_PORT": _upstream(
        lambda h: h.endpoint.hostname or h.endpoint.address.host
    ),
    "UPSTREAM_REMOTE_ADDRESS": _upstream(lambda h: str(h.endpoint.address)),
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _upstream(lambda h: h.endpoint.address.host),
    "UPSTREAM_REMOTE_PORT": _upstream(lambda h: str(h.endpoint.address.port)),
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": plain(lambda v: str(v.context.attempts)),
    "DOWNSTREAM_REMOTE_ADDRESS": _address(_remote),
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": _host_of(_remote),
    "DOWNSTREAM_REMOTE_PORT": _port_of(_remote),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": _address(_direct),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": _host_of(_direct),
    "DOWNSTREAM_DIRECT_REMOTE_PORT": _port_of(_direct),
    "DOWNSTREAM_LOCAL_ADDRESS": _address(_local),
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": _host_of(_local),
    "DOWNSTREAM_LOCAL_PORT": _port_of(_local),
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS": _address(_local),
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT": _host_of(_local),
    "DOWNSTREAM_DIRECT_LOCAL_PORT": _port_of(_local),
    "DOWNSTREAM_LOCAL_URI_SAN": plain(
        lambda v: ",".join(v.context.connection.local_uri_sans) or None
    ),
    "DOWNSTREAM_PEER_URI_SAN": _peer(lambda c: ",".join(c.uri_sans)),
    "DOWNSTREAM_PEER_DNS_SAN": _peer(lambda c: ",".join(c.dns_sans)),
    "DOWNSTREAM_PEER_IP_SAN": _peer(lambda c: ",".join(c.ip_sans)),
    "DOWNSTREAM_PEER_EMAIL_SAN": _peer(lambda c: ",".join(c.email_sans)),
    "DOWNSTREAM_PEER_SUBJECT": _peer(lambda c: c.subject),
    "DOWNSTREAM_PEER_FINGERPRINT_256": _peer(lambda c: c.sha256),
    "DOWNSTREAM_PEER_CERT": _peer(lambda c: c.url_encoded_pem),
    "DOWNSTREAM_PEER_CERT_V_END": _expiry,
    "DOWNSTREAM_TLS_VERSION": plain(lambda v: v.context.connection.tls_version or None),
    "REQUESTED_SERVER_NAME": plain(lambda v: v.context.connection.server_name or None),
    "DYNAMIC_METADATA": _metadata_of(lambda v: v.context.dynamic_metadata),
    "UPSTREAM_METADATA": _metadata_of(_host_metadata),
    "METADATA": _metadata,
    "FILTER_STATE": _filter_state,
}
"""By name. An argument that Envoy would refuse is a ConfigError when the format is parsed."""
NUMBERS: Final = frozenset(
    {
        "RESPONSE_CODE",
        "DURATION",
        "UPSTREAM_REMOTE_PORT",
        "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        "DOWNSTREAM_REMOTE_PORT",
        "DOWNSTREAM_DIRECT_REMOTE_PORT",
        "DOWNSTREAM_LOCAL_PORT",
        "DOWNSTREAM_DIRECT_LOCAL_PORT",
    }
)
"""Commands whose values are numbers in JSON."""
