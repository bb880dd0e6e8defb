"""A key set that nobody can sign for: a stand-in for one that could not be fetched."""

import base64
import json
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

_BITS: Final = 2048
_EXPONENT: Final = 65537  # "AQAB"


def make_unusable_jwks() -> str:
    """A JSON Web Key Set with one RSA key, whose private half is thrown away. Takes some 50 ms."""
    key = rsa.generate_private_key(public_exponent=_EXPONENT, key_size=_BITS)
    modulus = key.public_key().public_numbers().n.to_bytes(_BITS // 8, "big")
    encoded = base64.urlsafe_b64encode(modulus).rstrip(b"=").decode()
    return json.dumps({"keys": [{"kty": "RSA", "e": "AQAB", "n": encoded}]}, indent=2)
