"""JSON Web Key Sets. Source: RFC 7517, and Envoy, JwtVerify::Jwks, which keys it takes.

A key that cannot be read does not void the others; a set without any key is an error.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509 import load_pem_x509_certificate
from jwt.algorithms import Algorithm, get_default_algorithms

from meshsdk.identity import jwt_base64
from meshsdk.identity.jwt_json import Json, parse_object
from meshsdk.identity.jwt_status import JwtStatus

KeyType: TypeAlias = Literal["RSA", "EC", "oct", "OKP"]
PublicKey: TypeAlias = RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey | bytes

ALGORITHMS: Final[Mapping[str, KeyType]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    **dict.fromkeys(("HS256", "HS384", "HS512"), "oct"),
    "EdDSA": "OKP",
}
"""The algorithms that a token may name, and the type of key that RFC 7518 has for each."""

_BY_NAME: Final[Mapping[str, Algorithm]] = get_default_algorithms()
_HASHES: Final = {"384": hashes.SHA384, "512": hashes.SHA512}
_CURVES: Final[Mapping[str, tuple[type[ec.EllipticCurve], str]]] = {
    "P-256": (ec.SECP256R1, "ES256"),
    "P-384": (ec.SECP384R1, "ES384"),
    "P-521": (ec.SECP521R1, "ES512"),
}
_CURVE_OF: Final = {alg: curve for curve, (_, alg) in _CURVES.items()}
_EXPONENTS: Final = (3, 65537)
_MINIMUM_BITS: Final = 2048  # RFC 7518, 3.3
_ED25519: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Jwk:
    """One key. `alg` and `kid` are empty where the set does not say."""

    kty: KeyType
    kid: str
    alg: str
    use: str
    public: PublicKey | None = field(repr=False)
    """None: a key that Envoy takes, but which is too short to be used at all."""
    curve: str = ""

    def weakness(self, alg: str) -> str:
        """The rule by which this key does not count for an algorithm; empty: it does."""
        if self.use == "enc":
            return "jwt-use-enc"
        public = self.public
        if self.kty == "RSA" and (
            not isinstance(public, RSAPublicKey) or public.key_size < _MINIMUM_BITS
        ):
            return "jwt-weak-key"
        # Envoy leaves the algorithm to the key: HS256 over an EC key is taken for ES256.
        if ALGORITHMS[alg] != self.kty or (self.kty == "EC" and _CURVE_OF[alg] != self.curve):
            return "jwt-curve"
        return ""

    def is_canonical(self, signature: bytes) -> bool:
        """Whether an ECDSA signature has its curve's length; Envoy takes others of the same number."""
        public = self.public
        if not isinstance(public, ec.EllipticCurvePublicKey):
            return True
        return len(signature) == 2 * ((public.key_size + 7) // 8)

    def has_bad_length(self, signature: bytes) -> bool:
        """An Ed25519 signature of another length is told apart from a wrong one."""
        return self.kty == "OKP" and len(signature) != _ED25519

    def verifies(self, alg: str, signed: bytes, signature: bytes) -> bool:
        """Whether this key signed those octets. The key decides the family of the algorithm, the
        token the digest: SHA-256 where it names none for this family."""
        public = self.public
        if isinstance(public, ec.EllipticCurvePublicKey):
            return _verifies_ec(public, alg, signed, signature)
        name = alg
        if self.kty == "RSA":
            if ALGORITHMS[alg] != "RSA":
                return False
        elif ALGORITHMS[alg] != self.kty:
            name = "EdDSA" if self.kty == "OKP" else "HS256"
        return public is not None and _BY_NAME[name].verify(signed, public, signature)


def _verifies_ec(
    public: ec.EllipticCurvePublicKey, alg: str, signed: bytes, signature: bytes
) -> bool:
    half = len(signature) // 2
    if half == 0:
        return False
    r, s = signature[:half], signature[half : 2 * half]
    digest = _HASHES[alg[2:]]() if alg in ("ES384", "ES512") else hashes.SHA256()
    der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    try:
        public.verify(der, signed, ec.ECDSA(digest))
    except InvalidSignature:
        return False
    return True


@dataclass(frozen=True, slots=True, eq=False)
class Jwks:
    """A key set. Two sets are never the same one: who keeps a verdict keeps the set with it."""

    keys: tuple[Jwk, ...]


def parse_jwks(octets: bytes) -> Jwks | str:
    """The keys of a set, or what is wrong with it, in Envoy's words."""
    document = parse_object(octets)
    if document is None:
        return JwtStatus.JWKS_PARSE_ERROR.text
    if "keys" not in document:
        return _certificates(document)
    entries = document["keys"]
    if not isinstance(entries, list):
        return JwtStatus.JWKS_BAD_KEYS.text
    keys: list[Jwk] = []
    problem = ""
    for entry in entries:
        if not isinstance(entry, Mapping):
            continue
        found = _key(entry)
        if isinstance(found, Jwk):
            keys.append(found)
        else:
            problem = problem or found
    return Jwks(tuple(keys)) if keys else problem or JwtStatus.JWKS_NO_VALID_KEYS.text


def _key(entry: Mapping[str, Json]) -> Jwk | str:
    if "kty" not in entry:
        return "[kty] is missing in [keys]"
    kty = entry["kty"]
    if not isinstance(kty, str):
        return "[kty] is bad in [keys]"
    parse = _PARSERS.get(kty)
    if parse is None:
        return "[kty] is not supported in [keys]"
    try:
        return parse(entry, _text(entry, "kid"), _text(entry, "alg"))
    except _BadKeyError as problem:
        return str(problem)


class _BadKeyError(ValueError):
    """In Envoy's words."""


def _text(entry: Mapping[str, Json], name: str) -> str:
    found = entry.get(name)
    return found if isinstance(found, str) else ""


def _member(entry: Mapping[str, Json], name: str, kind: str) -> str:
    if name not in entry:
        raise _BadKeyError(f"[{name}] field is missing for {kind} key")
    found = entry[name]
    if not isinstance(found, str):
        raise _BadKeyError(f"[{name}] field is not string for {kind} key")
    return found


def _rsa(entry: Mapping[str, Json], kid: str, alg: str) -> Jwk:
    if alg and not alg.startswith(("RS", "PS")):
        raise _BadKeyError("[alg] is not started with [RS] or [PS] for an RSA key")
    n = jwt_base64.decode(_member(entry, "n", "a RSA"))
    e = jwt_base64.decode(_member(entry, "e", "a RSA"))
    if n is None or e is None or int.from_bytes(e, "big") not in _EXPONENTS:
        raise _BadKeyError("Jwks RSA [n] or [e] field is missing or has a parse error")
    modulus = int.from_bytes(n, "big")
    if modulus % 2 == 0 or not 512 <= modulus.bit_length() <= 16384:
        raise _BadKeyError("Jwks RSA [n] or [e] field is missing or has a parse error")
    try:
        public = RSAPublicNumbers(int.from_bytes(e, "big"), modulus).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return Jwk("RSA", kid, alg, _text(entry, "use"), None)
    return Jwk("RSA", kid, alg, _text(entry, "use"), public)


def _ec(entry: Mapping[str, Json], kid: str, alg: str) -> Jwk:
    if alg and not alg.startswith("ES"):
        raise _BadKeyError("[alg] is not started with [ES] for an EC key")
    curve = entry.get("crv", "")
    if not isinstance(curve, str):
        raise _BadKeyError("[crv] field is not string for an EC key")
    if alg and curve and _CURVE_OF.get(alg) != curve:
        raise _BadKeyError("[crv] field specified is not compatible with [alg] for an EC key")
    curve = curve or _CURVE_OF.get(alg, "" if alg else "P-256")
    if curve not in _CURVES:
        raise _BadKeyError("[crv] or [alg] field is not supported for an EC key")
    x = jwt_base64.decode(_member(entry, "x", "an EC"))
    y = jwt_base64.decode(_member(entry, "y", "an EC"))
    if x is None or y is None:
        raise _BadKeyError("Jwks EC [x] or [y] field is an invalid Base64.")
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), _CURVES[curve][0]()
    )
    try:
        public = numbers.public_key()
    except ValueError:
        raise _BadKeyError("Jwks EC [x] and [y] fields have a parse error.") from None
    return Jwk("EC", kid, alg, _text(entry, "use"), public, curve)


def _oct(entry: Mapping[str, Json], kid: str, alg: str) -> Jwk:
    if alg and ALGORITHMS.get(alg) != "oct":
        raise _BadKeyError("[alg] does not start with [HS] for an HMAC key")
    secret = jwt_base64.decode(_member(entry, "k", "an HMAC"))
    if not secret:
        raise _BadKeyError("Jwks Oct key is an invalid Base64")
    return Jwk("oct", kid, alg, _text(entry, "use"), secret)


def _okp(entry: Mapping[str, Json], kid: str, alg: str) -> Jwk:
    if alg and alg != "EdDSA":
        raise _BadKeyError("[alg] is not [EdDSA] for an OKP key")
    if _member(entry, "crv", "an OKP") != "Ed25519":
        raise _BadKeyError("[crv] field is not supported for an OKP key")
    x = jwt_base64.decode(_member(entry, "x", "an OKP"))
    if x is None:
        raise _BadKeyError("Jwks OKP [x] field is an invalid Base64.")
    if len(x) != 32:
        raise _BadKeyError("Jwks OKP [x] field is wrong length.")
    public = Ed25519PublicKey.from_public_bytes(x)
    return Jwk("OKP", kid, alg, _text(entry, "use"), public, "Ed25519")


_PARSERS: Final[Mapping[str, Callable[[Mapping[str, Json], str, str], Jwk]]] = {
    "RSA": _rsa,
    "EC": _ec,
    "oct": _oct,
    "OKP": _okp,
}
_BEGIN: Final = "-----BEGIN CERTIFICATE-----\n"
_END: Final = "\n-----END CERTIFICATE-----\n"


def _certificates(document: Mapping[str, Json]) -> Jwks | str:
    """The other form: PEM certificates with RSA keys by kid."""
    entries = dict(_pem_entries(document))
    if not document or len(entries) != len(document):
        return JwtStatus.JWKS_NO_KEYS.text
    keys: list[Jwk] = []
    for kid, pem in entries.items():
        try:
            public = load_pem_x509_certificate(pem.encode()).public_key()
        except ValueError:
            return JwtStatus.JWKS_X509_PARSE_ERROR.text
        if not isinstance(public, RSAPublicKey):
            return JwtStatus.JWKS_X509_GET_PUBKEY_ERROR.text
        keys.append(Jwk("RSA", kid, "", "", public))
    return Jwks(tuple(keys))


def _pem_entries(document: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    for kid, value in document.items():
        if kid and isinstance(value, str) and value.startswith(_BEGIN) and value.endswith(_END):
            yield kid, value
