"""Rows of the threat model about tokens (section 4): each with the token that it is about."""

import json
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshsdk.call.filter import Continue
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request
from meshsdk.identity import jwt_base64
from tests.filters.jwt_case import (
    CLAIMS,
    NOW,
    SECRET,
    STRICT,
    Caller,
    Json,
    bearer,
    config,
    jwks,
    pairs,
    parse,
    provider,
    signature,
    token,
)


def _raw(header: str, payload: str, secret: bytes = SECRET) -> str:
    """A token of texts that no JSON library would write, signed all the same."""
    signed = f"{jwt_base64.encode(header.encode())}.{jwt_base64.encode(payload.encode())}"
    return f"{signed}.{signature(signed, secret)}"


_HEADER: Final = '{"alg":"HS256","kid":"k"}'
_PAYLOAD: Final = json.dumps(CLAIMS)
_RSA: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
_NUMBER: Final = _RSA.public_numbers().n.to_bytes(256, "big")
_PUBLIC: Final[Json] = {
    "kty": "RSA",
    "kid": "k",
    "e": "AQAB",
    "n": jwt_base64.encode(_NUMBER),
}
_ATTACKERS: Final = b"a" * 32
_EMBEDDED: Final = {"kty": "oct", "k": jwt_base64.encode(_ATTACKERS)}


def claims(**changed: object) -> str:
    return token({**CLAIMS, **changed})


# Row, token, whether it is good.
TOKENS: list[tuple[str, str, bool]] = [
    ("twin", token(), True),
    *(
        ("J1", _raw(f'{{"alg":{alg},"kid":"k"}}', _PAYLOAD), False)
        for alg in ('"none"', '"None"', '"NONE"', '["HS256"]', "1", "null", '""')
    ),
    ("J1", f"{token().rpartition('.')[0]}.", False),
    ("J3", token(header={"alg": "HS512", "kid": "k"}), False),
    *(
        ("J4", token(header={"alg": "HS256", **embedded}, secret=_ATTACKERS), False)
        for embedded in (
            {"jwk": _EMBEDDED},
            {"kid": "k", "jwk": _EMBEDDED},
            {"kid": "k", "jku": "http://127.0.0.1/keys"},
            {"kid": "k", "x5u": "http://127.0.0.1/cert"},
            {"kid": "k", "x5c": ["AAAA"]},
        )
    ),
    *(
        ("J5", token(header={"alg": "HS256", "kid": kid}), False)
        for kid in ("../../dev/null", "' OR 1=1", "http://a/k", 1, ["k"], "x" * 8192, "")
    ),
    ("J6", token(header={"alg": "HS256", "kid": "k", "crit": ["b64"], "b64": False}), False),
    *(
        ("J8", claims(iss=issuer), False)
        for issuer in ("issue", "issuer/", "Issuer", "issuer ", ["issuer"], None, "xissuer", "")
    ),
    ("J10", claims(exp=0), False),
    ("J11", claims(exp=NOW - 55), True),
    ("J11", claims(exp=NOW - 65), False),
    ("J11", claims(nbf=NOW + 55), True),
    ("J11", claims(nbf=NOW + 65), False),
    *(("J11", claims(exp=wrong), False) for wrong in ("4102444800", True, [NOW + 600], -1)),
    ("J11", claims(nbf=str(NOW)), False),
    ("J12", _raw('{"alg":"HS256","alg":"HS256","kid":"k"}', _PAYLOAD), False),
    ("J12", _raw(_HEADER, f'{{"iss":"x","iss":"issuer","exp":{NOW + 9}}}'), False),
    ("J13", _raw(_HEADER, "\ufeff" + _PAYLOAD), False),
    ("J13", _raw(_HEADER, _PAYLOAD + "x"), False),
    ("J13", _raw(_HEADER, "[" * 5000 + "]" * 5000), False),
    ("J13", _raw(_HEADER, '{"iss":"issuer","a":' + '{"a":' * 200 + "1" + "}" * 201), False),
    ("J14", token() + "==", False),
    ("J14", token().replace(".", "=.", 1), False),
    ("J14", f" {token()}"[1:] + "\n", False),
]


@pytest.mark.parametrize(("row", "text", "is_good"), TOKENS)
def test_a_token_is_judged_as_the_threat_model_says(row: str, text: str, is_good: bool) -> None:
    caller = Caller(parse(config(), STRICT))

    assert caller.status(bearer(text)) == (200 if is_good else 401), row


@pytest.mark.parametrize(
    "secret",
    [
        _NUMBER,
        jwt_base64.encode(_NUMBER).encode(),
        _RSA.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        _RSA.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        _RSA.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(_PUBLIC).encode(),
        b"",
    ],
)
def test_j2_a_public_key_is_no_hmac_secret(secret: bytes) -> None:
    data = config(one=provider(local_jwks={"inline_string": jwks(_PUBLIC)}))

    assert Caller(parse(data, STRICT)).status(bearer(token(secret=secret))) == 401


@pytest.mark.parametrize(
    ("audience", "status"),
    [("ours", 200), (["x", "ours"], 200), ("our", 403), ("x,ours", 403), ({"ours": 1}, 401)],
)
def test_j9_an_audience_is_a_member_not_a_part(audience: object, status: int) -> None:
    data = config(one=provider(audiences=["ours"]))

    assert Caller(parse(data, STRICT)).status(bearer(claims(aud=audience))) == status


# J15 and J16. `xBearer x` authenticates in Envoy, which finds the prefix anywhere; so here.
@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([f"Bearer {token()}"], 200),
        ([f"bearer {token()}"], 401),
        ([f"Basic {token()}"], 401),
        ([f"Bearer {token()}", "Bearer bad"], 401),
        ([f"Bearer {token()}", f"Bearer {token()}"], 200),
        ([f"Bearer {token()},Bearer bad"], 401),
        (["Bearer "], 401),
        ([], 401),
    ],
)
def test_every_token_of_a_request_must_be_good(values: list[str], status: int) -> None:
    request = Request("GET", "h.test", "/", Headers([("authorization", v) for v in values]))

    assert Caller(parse(config(), STRICT)).status(request) == status


def test_j17_a_token_in_the_query_is_judged_and_taken_out() -> None:
    caller = Caller(parse(config(), STRICT))

    good = caller.send(Request("GET", "h.test", f"/?a=1&access_token={token()}"))

    assert isinstance(good, Continue)
    assert good.request.path == "/?a=1"
    assert caller.status(Request("GET", "h.test", "/?access_token=bad")) == 401


def test_j18_a_preflight_skips_tokens_alone() -> None:
    caller = Caller(parse(config(bypass_cors_preflight=True), STRICT))
    fields = [("origin", "https://a"), ("access-control-request-method", "PUT")]
    forged = ("authorization", "Bearer bad")

    preflight = caller.send(Request("OPTIONS", "h.test", "/", Headers([*fields, forged])))

    assert isinstance(preflight, Continue)
    assert caller.context.claims == ()
    assert caller.status(Request("GET", "h.test", "/", Headers([*fields, forged]))) == 401
    assert caller.status(Request("OPTIONS", "h.test", "/", Headers([forged]))) == 401


def test_j19_a_caller_cannot_write_the_fields_of_claims() -> None:
    one = provider(claim_to_headers=[{"header_name": "x-user", "claim_name": "sub"}])
    caller = Caller(parse(config({"allow_missing": {}}, one), STRICT))

    verdict = caller.send(Request("GET", "h.test", "/", Headers([("x-user", "root")])))

    assert list(pairs(verdict)) == []


def test_h12_a_claim_cannot_begin_another_field() -> None:
    one = provider(claim_to_headers=[{"header_name": "x-user", "claim_name": "sub"}])
    caller = Caller(parse(config(one=one), STRICT))

    verdict = caller.send(bearer(claims(sub="a\r\nx-evil: 1")))

    assert isinstance(verdict, LocalReply)


def test_j27_a_huge_token_is_no_work() -> None:
    caller = Caller(parse(config(), STRICT))
    huge = claims(pad="x" * 60_000)

    assert caller.status(bearer(huge)) in (200, 401)
    (rule,) = caller.filter.rules
    cache = getattr(rule.requirement, "cache").entries  # noqa: B009 - of one kind of requirement
    assert len(cache) == 0
