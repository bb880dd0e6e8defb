"""Messages of unary gRPC calls as they stand in an HTTP body, from and to proto-JSON."""

from collections.abc import Mapping
from typing import Final

from meshsdk.errors import ConfigError, PeerError
from meshsdk.wire.json_form import from_json, to_json
from meshsdk.wire.pool import parse_message, service

_PREFIX: Final = 5
"""Octets before a message: whether it is compressed, and its length."""


def frame(service_name: str, method: str, message: Mapping[str, object]) -> bytes:
    """A request message with its prefix. ConfigError: it does not fit the method."""
    kind = service(service_name).methods_by_name[method].input_type.full_name
    raw = from_json(kind, message).SerializeToString()
    return b"\0" + len(raw).to_bytes(4, "big") + raw


def unframe(service_name: str, method: str, body: bytes) -> dict[str, object]:
    """The response message in a body. PeerError: it holds anything but one, uncompressed."""
    length = int.from_bytes(body[1:_PREFIX], "big")
    if len(body) < _PREFIX or body[0] or len(body) != _PREFIX + length:
        raise PeerError("a unary answer holds one message", found=f"{len(body)} octets")
    kind = service(service_name).methods_by_name[method].output_type.full_name
    try:
        return to_json(parse_message(kind, body[_PREFIX:]))
    except ConfigError as error:
        raise PeerError(f"the answer is no {kind}") from error
