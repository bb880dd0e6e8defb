"""XXH64 in Python against the specification's own results."""

import pytest

from meshsdk.matching.xxh64 import plain_xxh64, xxh64

# xxHash repository, doc/xxhash_spec.md and the sanity test's well-known strings.
KNOWN = [
    (b"", 0, 0xEF46DB3751D8E999),
    (b"a", 0, 0xD24EC4F1A98C6E5B),
    (b"abc", 0, 0x44BC2CF5AD770999),
    (b"", 1, 0xD5AFBA1336A3BE4B),
]


@pytest.mark.parametrize(("data", "seed", "expected"), KNOWN)
def test_a_known_text_has_its_known_hash(data: bytes, seed: int, expected: int) -> None:
    assert plain_xxh64(data, seed) == expected


@pytest.mark.parametrize("length", [3, 4, 8, 13, 31, 32, 33, 64, 101])
def test_the_fast_form_agrees_with_the_plain_one_at_every_block_size(length: int) -> None:
    data = bytes(range(length))

    assert xxh64(data, 7) == plain_xxh64(data, 7)
