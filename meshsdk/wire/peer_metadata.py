"""What Istio's proxies tell each other of themselves: a Struct in base64, in a header field.

Source: Istio, `x-envoy-peer-metadata`; extensions of istio/proxy, metadata_object.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final, cast

from meshsdk.errors import ConfigError
from meshsdk.filters.peer_metadata import LARGEST
from meshsdk.wire.pool import message_class, parse_message
from meshsdk.wire.struct_form import fill_struct, plain_struct

_STRUCT: Final = "google.protobuf.Struct"


def encode(metadata: Mapping[str, object]) -> str:
    """The field's value."""
    message: Any = message_class(_STRUCT)()
    fill_struct(message, metadata, "", 0)
    raw: bytes = message.SerializeToString(deterministic=True)
    return b64encode(raw).decode("ascii")


def decode(text: str) -> Mapping[str, object] | None:
    """A field's value; None when it is none of this kind."""
    if len(text) > LARGEST:
        return None
    try:
        message = parse_message(_STRUCT, b64decode(text, validate=True))
        return plain_struct(cast("Any", message))
    except (ConfigError, binascii.Error, ValueError, RecursionError):
        return None
