"""XXH64, with which Envoy hashes requests and places hosts. Source: the xxHash specification.

The `xxhash` package is used where it is installed.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Final, Protocol, cast

_P1: Final = 0x9E3779B185EBCA87
_P2: Final = 0xC2B2AE3D27D4EB4F
_P3: Final = 0x165667B19E3779F9
_P4: Final = 0x85EBCA77C2B2AE63
_P5: Final = 0x27D4EB2F165667C5
_MASK: Final = 0xFFFFFFFFFFFFFFFF


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (64 - bits))) & _MASK


def _round(lane: int, word: int) -> int:
    return _rotate((lane + word * _P2) & _MASK, 31) * _P1 & _MASK


def plain_xxh64(data: bytes, seed: int = 0, /) -> int:
    """XXH64 in Python alone."""
    length = len(data)
    at = 0
    if length >= 32:
        lanes = [(seed + _P1 + _P2) & _MASK, (seed + _P2) & _MASK, seed, (seed - _P1) & _MASK]
        while at <= length - 32:
            for lane in range(4):
                word = int.from_bytes(data[at : at + 8], "little")
                lanes[lane] = _round(lanes[lane], word)
                at += 8
        acc = sum(_rotate(lanes[i], bits) for i, bits in enumerate((1, 7, 12, 18))) & _MASK
        for lane in lanes:
            acc = ((acc ^ _round(0, lane)) * _P1 + _P4) & _MASK
    else:
        acc = (seed + _P5) & _MASK
    return _finish((acc + length) & _MASK, data, at)


def _finish(acc: int, data: bytes, at: int) -> int:
    length = len(data)
    while at + 8 <= length:
        word = int.from_bytes(data[at : at + 8], "little")
        acc = (_rotate(acc ^ _round(0, word), 27) * _P1 + _P4) & _MASK
        at += 8
    if at + 4 <= length:
        word = int.from_bytes(data[at : at + 4], "little")
        acc = (_rotate(acc ^ (word * _P1 & _MASK), 23) * _P2 + _P3) & _MASK
        at += 4
    for octet in data[at:]:
        acc = _rotate(acc ^ (octet * _P5 & _MASK), 11) * _P1 & _MASK
    acc = (acc ^ (acc >> 33)) * _P2 & _MASK
    acc = (acc ^ (acc >> 29)) * _P3 & _MASK
    return acc ^ (acc >> 32)


class _Hash(Protocol):
    def __call__(self, data: bytes, seed: int = 0, /) -> int: ...


def _fastest() -> _Hash:
    if find_spec("xxhash") is None:
        return plain_xxh64
    return cast("_Hash", import_module("xxhash").xxh64_intdigest)


xxh64: Final[_Hash] = _fastest()
"""XXH64 of octets, unsigned."""
