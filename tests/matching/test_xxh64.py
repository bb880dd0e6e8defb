"""XXH64 in Python against the specification's own results."""

import pytest

from meshsdk.matching.xxh64 import plain_xxh64, xxh64

# xxHash repository, doc/xxhash_spec.md and the sanity test's well-known strings.
KNOWN = [
    (b"", 0, 0xEF46DB3751D8E999),
    (b"a", 0, 0xD24EC4F1A98C6E5B),
    (b"abc", 0, 0x44BC2CF5AD770999),
    (b"Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
    (b"", 1, 0xD5AFBA1336A3BE4B),
]


@pytest.mark.parametrize(("data", "seed", "expected"), KNOWN)
def test_a_known_text_has_its_known_hash(data: bytes, seed: int, expected: int) -> None:
    assert plain_xxh64(data, seed) == expected


def test_the_fast_form_agrees_with_the_plain_one_at_every_length() -> None:
    data = bytes(range(256))

    assert all(xxh64(data[:n], n) == plain_xxh64(data[:n], n) for n in range(130))
