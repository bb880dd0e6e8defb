"""Tokens and key sets: what is read, and what signs. Decisions of Envoy 1.40 unless said otherwise."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from meshsdk.identity import jwt_base64
from meshsdk.identity.jwks import Jwks, parse_jwks
from meshsdk.identity.jwt import Refused, Rules, Token, parse, verify
from meshsdk.identity.jwt_json import parse_object, to_json
from meshsdk.identity.jwt_status import JwtStatus

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
RSA = rsa.generate_private_key(65537, 2048)
CURVES = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "512": ec.SECP521R1()}
NAMES = {"256": "P-256", "384": "P-384", "512": "P-521"}
EC = {size: ec.generate_private_key(curve) for size, curve in CURVES.items()}
HS256_HEADER = jwt_base64.encode(b'{"alg":"HS256"}')
ED = ed25519.Ed25519PrivateKey.generate()


def number(value: int) -> str:
    return jwt_base64.encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def rsa_jwk(**extra: object) -> dict[str, object]:
    numbers = RSA.public_key().public_numbers()
    return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **extra}


def ec_jwk(size: str, **extra: object) -> dict[str, object]:
    numbers = EC[size].public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": NAMES[size],
        "x": number(numbers.x),
        "y": number(numbers.y),
        **extra,
    }


def ed_jwk() -> dict[str, object]:
    x = jwt_base64.encode(ED.public_key().public_bytes_raw())
    return {"kty": "OKP", "crv": "Ed25519", "x": x}


def key_set(*keys: object) -> Jwks:
    found = parse_jwks(json.dumps({"keys": keys}).encode())
    assert isinstance(found, Jwks)
    return found


def signed(alg: str, sign: Callable[[bytes], bytes], rules: Rules = "strict") -> Token:
    header = jwt_base64.encode(json.dumps({"alg": alg}).encode())
    text = f"{header}.{jwt_base64.encode(b'{}')}"
    found = parse(f"{text}.{jwt_base64.encode(sign(text.encode()))}", rules)
    assert isinstance(found, Token)
    return found


def by_ec(size: str, digest: str) -> Callable[[bytes], bytes]:
    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(EC[size].sign(message, ec.ECDSA(HASHES[digest])))
        width = (CURVES[size].key_size + 7) // 8
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")

    return sign


def by_rs(size: str) -> Callable[[bytes], bytes]:
    return lambda message: RSA.sign(message, padding.PKCS1v15(), HASHES[size])


def by_ps(size: str) -> Callable[[bytes], bytes]:
    scheme = padding.PSS(padding.MGF1(HASHES[size]), HASHES[size].digest_size)
    return lambda message: RSA.sign(message, scheme, HASHES[size])


@pytest.mark.parametrize("size", ["256", "384", "512"])
def test_every_algorithm_verifies_what_its_key_signed(size: str) -> None:
    keys = key_set(rsa_jwk(), ec_jwk(size), ed_jwk())

    for alg, sign in (
        (f"RS{size}", by_rs(size)),
        (f"PS{size}", by_ps(size)),
        (f"ES{size}", by_ec(size, size)),
        ("EdDSA", ED.sign),
    ):
        assert verify(signed(alg, sign), keys, "strict") is None, alg
        assert verify(signed(alg, lambda _: b"\0" * 64), keys, "strict") is not None, alg


def test_an_algorithm_other_than_the_keys_own_never_verifies() -> None:
    keys = key_set(rsa_jwk(alg="RS256"))

    refused = verify(signed("RS512", by_rs("512")), keys, "envoy")

    assert refused == Refused(JwtStatus.JWKS_KID_ALG_MISMATCH)


def test_a_public_key_is_no_hmac_secret() -> None:
    jwk = rsa_jwk()
    modulus = base64.urlsafe_b64decode(str(jwk["n"]) + "==")

    forged = signed("HS256", lambda m: hmac.new(modulus, m, hashlib.sha256).digest())

    assert verify(forged, key_set(jwk), "strict") is not None
    assert verify(forged, key_set(jwk), "envoy") is not None


def test_es256_needs_its_own_curve_in_strict() -> None:
    token = signed("ES256", by_ec("384", "256"))

    assert verify(token, key_set(ec_jwk("384")), "envoy") is None
    refused = verify(token, key_set(ec_jwk("384")), "strict")
    assert refused == Refused(JwtStatus.VERIFICATION_FAIL, "jwt-curve")


def test_an_ecdsa_signature_with_an_octet_more_is_another_spelling() -> None:
    sign = by_ec("256", "256")
    token = signed("ES256", lambda message: sign(message) + b"\0")

    assert verify(token, key_set(ec_jwk("256")), "envoy") is None
    assert verify(token, key_set(ec_jwk("256")), "strict") is not None


def test_one_bad_key_does_not_void_the_others() -> None:
    keys = key_set({"kty": "RSA", "n": "!"}, "text", None, rsa_jwk(kid="a", d="private"))

    assert [key.kid for key in keys.keys] == ["a"]


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("", b""),
        ("QQ", b"A"),
        ("QR", b"A"),
        ("QQ==", b"A"),
        ("Q Q", b"A"),
        ("Q", None),
        ("QQ=", None),
        ("Q=Q", None),
        ("+/", None),
        ("QQ==Q", None),
    ],
)
def test_base64url_is_read_as_envoy_reads_it(text: str, octets: bytes | None) -> None:
    assert jwt_base64.decode(text) == octets


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":2}',
        b'{"a":"\\ud800"}',
        b"{'a':'\\ud800'}",
        b'{"a":1e999}',
        b'{"a":NaN}',
        b'{"a":01}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b"{} x",
        b"[]",
        b"",
        b'{"a":' * 101 + b"1" + b"}" * 101,
        b'{"a":' + b"1" * 5000 + b"}",
        b"[" * 100_000,
    ],
)
def test_text_that_is_no_object_is_refused(text: bytes) -> None:
    assert parse_object(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"null", {}),
        (b'{"a":[1,],}', {"a": [1]}),
        (b"{a:'b'}", {"a": "b"}),
        (b"{'a':\"\\'\\u00e9\\ud83d\\ude00\"}", {"a": "'\u00e9\U0001f600"}),
        (b'{"a":9007199254740993}', {"a": 9007199254740992}),
        (b'{"a":"\t"}', {"a": "\t"}),
    ],
)
def test_envoys_dialect_of_json_is_read(text: bytes, found: object) -> None:
    assert parse_object(text) == found


def test_a_claim_is_printed_as_protobuf_prints_it() -> None:
    claim = parse_object(b'{"a":[1,1e21,0.1,null,true],"<\xe2\x80\xa8":"\\u00e9"}')
    assert claim is not None

    assert to_json(claim) == '{"a":[1,1e+21,0.1,null,true],"\\u003c\\u2028":"\u00e9"}'


def test_a_token_shows_nothing_that_could_be_replayed() -> None:
    text = jwt_base64.encode(b'{"sub":"alice"}')
    token = parse(HS256_HEADER + f".{text}.QQ", "envoy")

    assert isinstance(token, Token)
    assert "alice" not in repr(token)
    assert text not in repr(token)


def test_long_text_that_only_our_own_parser_reads_is_read_in_runs() -> None:
    long = "{" * 100_000

    assert parse_object(json.dumps({"a": long}).encode()) == {"a": long}
