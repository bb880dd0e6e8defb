"""Message types from the descriptor set that ships beside this file, in a pool of its own.

A private pool clashes with nobody's generated code, whatever version made it. Messages of this
pool cannot be copied into messages of the default pool (nor back): pass bytes.
Made by tools/gen_protos.py.
"""

import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from meshsdk.errors import ConfigError

TYPE_URL_PREFIX: Final = "type.googleapis.com/"

_lock = threading.Lock()
_pools: list[DescriptorPool] = []
_classes: dict[str, type[Message]] = {}


def type_url(full_name: str) -> str:
    """The type URL of a message, `type.googleapis.com/<full name>`."""
    return TYPE_URL_PREFIX + full_name


def full_name(url: str) -> str:
    """The message that a type URL names; any prefix, or none, is taken."""
    return url.rpartition("/")[2]


def find_message_class(name: str) -> type[Message] | None:
    """The class of a message by full name, None when the set does not have it."""
    found = _classes.get(name)
    if found is None:
        try:
            found = GetMessageClass(_pool().FindMessageTypeByName(name))
        except KeyError:
            return None
        _classes[name] = found  # only names that exist: a peer cannot make this grow
    return found


def message_class(name: str) -> type[Message]:
    """The class of a message that the set is known to have; LookupError for others."""
    found = find_message_class(name)
    if found is None:
        raise LookupError(f"no message {name} in the descriptor set")
    return found


def parse_message(name: str, raw: bytes) -> Message:
    """Bytes to a message; ConfigError when they are none, or the type is not known."""
    cls = find_message_class(name)
    if cls is None:
        raise ConfigError("", f"unknown message type {name}")
    try:
        return cls.FromString(raw)
    except DecodeError:
        # Also what protobuf says of more than 100 levels of nesting.
        raise ConfigError("", f"expected a {name}, found bytes that are none") from None


def service(name: str) -> ServiceDescriptor:
    """A gRPC service by full name; LookupError when the set does not have it."""
    return _pool().FindServiceByName(name)


def _pool() -> DescriptorPool:
    if not _pools:
        with _lock:
            if not _pools:
                _pools.append(_load())
    return _pools[0]


def _load() -> DescriptorPool:
    """About 10 ms for the whole set."""
    pool = DescriptorPool()
    packed = Path(__file__).with_name("descriptors.binpb.z").read_bytes()
    for file in _split(zlib.decompress(packed)):
        pool.AddSerializedFile(file)
    return pool


def _split(descriptor_set: bytes) -> Iterator[bytes]:
    """The files of a serialized FileDescriptorSet: its field 1, repeated. They are in an order
    that the pool takes, and reading them so needs no descriptor_pb2."""
    position = 0
    while position < len(descriptor_set):
        position += 1  # the tag, always 0x0a
        length = shift = 0
        while True:
            octet = descriptor_set[position]
            position += 1
            length |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                break
        yield descriptor_set[position : position + length]
        position += length
