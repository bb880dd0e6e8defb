"""XXH64, which Envoy hashes requests and hosts with.

Source: the xxHash specification, XXH64. The `xxhash` package is used where it is installed.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Final, cast

_P1: Final = 0x9E3779B185EBCA87
_P2: Final = 0xC2B2AE3D27D4EB4F
_P3: Final = 0x165667B19E3779F9
_P4: Final = 0x85EBCA77C2B2AE63
_P5: Final = 0x27D4EB2F165667C5
_MASK: Final = 2**64 - 1


def _rotated(value: int, by: int) -> int:
    return (value << by | value >> (64 - by)) & _MASK


def _round(lane: int, word: int) -> int:
    return _rotated((lane + word * _P2) & _MASK, 31) * _P1 & _MASK


def _word(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def plain_xxh64(data: bytes, seed: int = 0) -> int:
    """XXH64 in Python."""
    at = 0
    if len(data) >= 32:
        lanes = [seed + _P1 + _P2 & _MASK, seed + _P2 & _MASK, seed, seed - _P1 & _MASK]
        while at + 32 <= len(data):
            lanes = [_round(lane, _word(data, at + 8 * i, 8)) for i, lane in enumerate(lanes)]
            at += 32
        shifts = (1, 7, 12, 18)
        value = sum(_rotated(lane, by) for lane, by in zip(lanes, shifts, strict=True)) & _MASK
        for lane in lanes:
            value = ((value ^ _round(0, lane)) * _P1 + _P4) & _MASK
    else:
        value = seed + _P5 & _MASK
    value = value + len(data) & _MASK
    while at + 8 <= len(data):
        value = (_rotated(value ^ _round(0, _word(data, at, 8)), 27) * _P1 + _P4) & _MASK
        at += 8
    if at + 4 <= len(data):
        value = (_rotated(value ^ _word(data, at, 4) * _P1 & _MASK, 23) * _P2 + _P3) & _MASK
        at += 4
    for byte in data[at:]:
        value = _rotated(value ^ byte * _P5 & _MASK, 11) * _P1 & _MASK
    value = (value ^ value >> 33) * _P2 & _MASK
    value = (value ^ value >> 29) * _P3 & _MASK
    return value ^ value >> 32


def _fastest() -> Callable[..., int]:
    if find_spec("xxhash") is None:
        return plain_xxh64
    return cast("Callable[..., int]", import_module("xxhash").xxh64_intdigest)


_xxh64: Final = _fastest()


def xxh64(data: bytes, seed: int = 0) -> int:
    """The 64-bit hash of `data`."""
    return _xxh64(data, seed)
