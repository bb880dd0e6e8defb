"""The key set that nobody can sign for."""

from meshsdk.identity.jwks import Jwks, parse_jwks
from meshsdk.identity.unusable_jwks import make_unusable_jwks


def test_it_is_a_key_set_and_never_the_same_twice() -> None:
    first, second = make_unusable_jwks(), make_unusable_jwks()

    assert isinstance(parse_jwks(first.encode()), Jwks)
    assert first != second
