"""Unary gRPC calls by name, in proto-JSON: certificate authorities and the like."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc

from meshsdk.errors import ConfigError
from meshsdk.wire.grpc_server import ServerCall, UnaryBehaviour
from meshsdk.wire.json_form import from_json, to_json
from meshsdk.wire.pool import parse_message, service
from meshsdk.xds.messages import StreamEnded


def call_unary(
    channel: grpc.Channel,
    service_name: str,
    method_name: str,
    request: Mapping[str, object],
    *,
    timeout: float,
    metadata: Iterable[tuple[str, str]] = (),
) -> dict[str, object] | StreamEnded:
    """One call: the response, or how it ended without one. Blocks for `timeout` seconds at most.

    ConfigError: the request does not fit its message, or the response's bytes are none.
    """
    method = service(service_name).methods_by_name[method_name]
    raw = from_json(method.input_type.full_name, request).SerializeToString()
    untyped: Any = channel
    call = untyped.unary_unary(f"/{service_name}/{method_name}", None, None)
    try:
        response = call(raw, timeout=timeout, metadata=tuple(metadata))
    except grpc.RpcError as error:
        failed: Any = error
        return StreamEnded(failed.code().name, failed.details() or "")
    return to_json(parse_message(method.output_type.full_name, response))


def serve_unary(
    service_name: str,
    method_name: str,
    behaviour: Callable[[dict[str, object], ServerCall], Mapping[str, object]],
) -> UnaryBehaviour:
    """A behaviour in proto-JSON as one in bytes, for `GrpcServer.add`. Bytes that are no request
    are INVALID_ARGUMENT."""
    method = service(service_name).methods_by_name[method_name]

    def serve(raw: bytes, call: ServerCall) -> bytes:
        try:
            request = to_json(parse_message(method.input_type.full_name, raw))
        except ConfigError as error:
            call.abort("INVALID_ARGUMENT", str(error))
        response = behaviour(request, call)
        return bytes(from_json(method.output_type.full_name, response).SerializeToString())

    return serve
