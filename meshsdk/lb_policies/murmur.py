"""MurmurHash2 (64 bit) as the C++ standard library of GCC computes std::hash of a string."""

from typing import Final

_MASK: Final = 0xFFFFFFFFFFFFFFFF
_MULTIPLIER: Final = 0xC6A4A7935BD1E995
STD_HASH_SEED: Final = 0xC70F6907


def _mix(value: int) -> int:
    return value ^ (value >> 47)


def murmur2(data: bytes, seed: int = STD_HASH_SEED) -> int:
    """The hash of octets, unsigned."""
    length = len(data)
    acc = seed ^ (length * _MULTIPLIER & _MASK)
    whole = length & ~7
    for at in range(0, whole, 8):
        word = int.from_bytes(data[at : at + 8], "little")
        acc = (acc ^ (_mix(word * _MULTIPLIER & _MASK) * _MULTIPLIER & _MASK)) * _MULTIPLIER & _MASK
    if length & 7:
        acc = (acc ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    acc = _mix(acc) * _MULTIPLIER & _MASK
    return _mix(acc)
