"""A key that signs JSON Web Tokens: for the embedded control plane and for tests."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from meshsdk.errors import IdentityError
from meshsdk.identity import jwt_base64

_ALGORITHM: Final = "ES256"


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A private P-256 key; its key id is its RFC 7638 thumbprint."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """A new one."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Unencrypted; raises `IdentityError`."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise IdentityError("token key: expected an unencrypted PEM key") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise IdentityError("token key: expected a P-256 key")
        return cls(key)

    def to_pem(self) -> bytes:
        """PKCS#8, unencrypted: for a file that only its owner reads."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def jwks(self) -> bytes:
        """The public half as a key set."""
        public: Mapping[str, object] = ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        keys = [{**public, "kid": self._key_id, "use": "sig", "alg": _ALGORITHM}]
        return json.dumps({"keys": keys}).encode()

    def sign(self, claims: Mapping[str, object]) -> str:
        """A token in its compact form."""
        headers = {"kid": self._key_id}
        return jwt.encode(dict(claims), self.key, algorithm=_ALGORITHM, headers=headers)

    @property
    def _key_id(self) -> str:
        public = ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        required = {name: public[name] for name in ("crv", "kty", "x", "y")}
        canonical = json.dumps(required, separators=(",", ":"), sort_keys=True)
        return jwt_base64.encode(hashlib.sha256(canonical.encode()).digest())
