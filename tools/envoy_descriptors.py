"""Reads the file descriptors that an Envoy binary carries in its read-only data.

protoc's C++ output embeds every `FileDescriptorProto` in serialized form, so the binary itself
says which fields its version knows. Used by `gen_protos.py` only.
"""

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError

# Field 1 (name) with its length, then field 2 (package): how every embedded file begins.
_START = re.compile(rb"\n([\x08-\x7f])((?:envoy|xds|udpa|google|cel)/[a-zA-Z0-9_/.]+\.proto)\x12")
_VARINT_FIELDS = frozenset({10, 11, 14})  # public_dependency, weak_dependency, edition
_LENGTH_FIELDS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 12})
_LONGEST = 1_000_000  # no embedded field is near this; a longer one means noise


def read_embedded(binary: Path) -> dict[str, FileDescriptorProto]:
    """Every embedded file by name."""
    found: dict[str, FileDescriptorProto] = {}
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for match in _START.finditer(data):
            if len(match[2]) != match[1][0]:
                continue
            candidate = FileDescriptorProto()
            try:
                candidate.ParseFromString(data[match.start() : _end(data, match.start())])
            except DecodeError:
                continue
            known = found.get(candidate.name)
            if known is None or known.ByteSize() < candidate.ByteSize():
                found[candidate.name] = candidate
    return found


def _end(data: mmap.mmap, start: int) -> int:
    """Where the message that starts here stops looking like a FileDescriptorProto."""
    end = start
    for number, after in _fields(data, start):
        end = after
        if number == 12:  # syntax is protoc's last field
            break
    return end


def _fields(data: mmap.mmap, position: int) -> Iterator[tuple[int, int]]:
    previous = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        ordered = number >= previous or number in (10, 11) or previous in (10, 11)
        if not ordered:
            return
        if number in _VARINT_FIELDS and wire_type == 0:
            _, position = _varint(data, position)
        elif number in _LENGTH_FIELDS and wire_type == 2:
            length, position = _varint(data, position)
            if length > _LONGEST:
                return
            position += length
        else:
            return
        previous = number
        yield number, position


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data):
        octet = data[position]
        position += 1
        value |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            break
    return value, position
