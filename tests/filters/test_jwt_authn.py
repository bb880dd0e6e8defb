"""envoy.filters.http.jwt_authn: decisions of a real Envoy, and where ours are stricter."""

import json
import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from meshsdk.call.filter import Continue
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request
from meshsdk.cli.check.checker import Checker
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.filters import jwt_authn_filter
from meshsdk.filters.jwt_authn_authenticator import Authenticator
from tests.conformance.corpus import differences, is_rejected
from tests.filters.jwt_case import (
    CLAIMS,
    ENVOY,
    KEY,
    NOW,
    ONE,
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

RECORDED: list[Mapping[str, Any]] = json.loads(
    lzma.decompress((Path(__file__).parents[1] / "data" / "jwt_authn.json.xz").read_bytes())
)
"""Answers of Envoy 1.40 to our questions, in the form of the golden cases. Where its answer has no
stable order, or cannot go on a request line, the field is marked unstable."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted({case["name"].split("-")[0] for case in RECORDED}))
def test_every_recorded_outcome_is_envoys(kind: str) -> None:
    found: dict[str, object] = {}
    for case in RECORDED:
        if case["name"].split("-")[0] != kind:
            continue
        try:
            outcomes = Checker(case["config"]).run(case["requests"])
        except ConfigError as error:
            if not is_rejected(case):
                found[case["name"]] = str(error)
            continue
        if is_rejected(case):
            found[case["name"]] = "accepted"
        elif diffs := list(differences(case, outcomes)):
            found[case["name"]] = diffs

    assert found == {}


def test_a_refusal_says_why_in_body_challenge_and_details() -> None:
    caller = Caller(parse(config()))

    missing = caller.send(bearer())
    expired = caller.send(bearer(token({**CLAIMS, "exp": NOW - 61})))

    assert isinstance(missing, LocalReply)
    assert isinstance(expired, LocalReply)
    assert (missing.status, missing.body) == (401, b"Jwt is missing")
    assert missing.headers == (("www-authenticate", 'Bearer realm="http://h.test/"'),)
    assert expired.headers == (
        ("www-authenticate", 'Bearer realm="http://h.test/", error="invalid_token"'),
    )
    assert expired.details == "jwt_authn_access_denied{Jwt_is_expired}"


def test_a_token_for_another_audience_is_403() -> None:
    caller = Caller(parse(config(one=provider(audiences=["ours"]))))

    assert caller.status(bearer(token({**CLAIMS, "aud": "theirs"}))) == 403
    assert caller.status(bearer(token({**CLAIMS, "aud": ["theirs", "https://ours/"]}))) == 200


@pytest.mark.parametrize(("skew", "status"), [(-61, 401), (-60, 200), (0, 200)])
def test_expiry_has_sixty_seconds_of_clock_skew(skew: int, status: int) -> None:
    caller = Caller(parse(config()))

    assert caller.status(bearer(token({**CLAIMS, "exp": NOW + skew}))) == status


def test_claims_are_published_and_what_callers_forge_is_dropped() -> None:
    one = provider(
        payload_in_metadata="payload",
        normalize_payload_in_metadata={"space_delimited_claims": ["scope"]},
        claim_to_headers=[{"header_name": "X-User", "claim_name": "sub"}],
    )
    caller = Caller(parse(config(one=one)))
    request = bearer(token({**CLAIMS, "scope": "read write"}))
    forged = request.with_headers(request.headers.plus([("x-user", "root"), ("a", "b")]))

    verdict = caller.send(forged)

    assert list(pairs(verdict)) == [("a", "b"), ("x-user", "alice")]
    assert caller.metadata["payload"] == {**CLAIMS, "scope": ["read", "write"]}


def test_forged_claims_are_dropped_where_no_token_is_asked_for() -> None:
    one = provider(claim_to_headers=[{"header_name": "x-user", "claim_name": "sub"}])
    caller = Caller(parse(config(None, one)))

    verdict = caller.send(Request("GET", "h.test", "/", Headers([("x-user", "root")])))

    assert list(pairs(verdict)) == []


def test_a_claim_never_puts_control_characters_into_a_field() -> None:
    one = provider(claim_to_headers=[{"header_name": "x-user", "claim_name": "sub"}])
    caller = Caller(parse(config(one=one)))

    verdict = caller.send(bearer(token({**CLAIMS, "sub": "a\r\nx-evil: 1"})))

    assert isinstance(verdict, LocalReply)
    assert verdict.status == 503


def test_a_parameter_that_is_decoded_never_ends_the_request_line() -> None:
    caller = Caller(parse(config()))
    path = f"/?x=%20HTTP/1.1%0d%0ax-evil:1&access_token={token()}"

    verdict = caller.send(Request("GET", "h.test", path))

    assert isinstance(verdict, Continue)
    assert verdict.request.path == "/?x=%20HTTP/1.1%0D%0Ax-evil:1"


def test_one_bad_token_among_good_ones_is_refused() -> None:
    caller = Caller(parse(config()))
    bad = token(secret=b"x" * 32)

    good = Request("GET", "h.test", f"/?access_token={token()}")
    mixed = bearer(bad)
    mixed = Request("GET", "h.test", good.path, mixed.headers)

    assert caller.status(good) == 200
    assert caller.status(mixed) == 401


# -- stricter than Envoy (threat model, section 12) -----------------------------------------------

_WEAK = {
    "kty": "RSA",
    "kid": "k",
    "e": "AQAB",
    "n": "x4UQ6UBqCZQQCb4kKqQ5KJwTeC3nNYJfVYmWbpVb9ZbJcNQ7ZEmk3KUq8sC8Eo0Xa9K3fE8gQnvKNTO7NhNVPw",
}


def _respelled(text: str) -> str:
    return text + "="  # a 32 octet signature is 43 characters, so one is the right padding


STRICTER: tuple[tuple[str, Json, str], ...] = (
    ("jwt-crit", KEY, token(header={"alg": "HS256", "kid": "k", "crit": ["exp"]})),
    ("jwt-use-enc", {**KEY, "use": "enc"}, token()),
    ("jwt-curve", KEY, token(header={"alg": "RS256", "kid": "k"})),
    ("jwt-exp0", KEY, token({**CLAIMS, "exp": 0})),
    ("jwt-b64", KEY, _respelled(token())),
    ("jwt-b64", KEY, token() + "."),
    ("jwt-kid-empty", KEY, token(header={"alg": "HS256", "kid": ""})),
)


@pytest.mark.parametrize(("rule", "key", "text"), STRICTER)
def test_what_envoy_lets_pass_is_refused_by_its_rule(rule: str, key: Json, text: str) -> None:
    data = config(one=provider(local_jwks={"inline_string": jwks(key)}))

    ours = Caller(parse(data, STRICT)).send(bearer(text))
    envoys = Caller(parse(data, ENVOY)).send(bearer(text))

    assert isinstance(envoys, Continue)
    assert isinstance(ours, LocalReply)
    assert (ours.status, ours.details) == (401, f"meshsdk_refused{{{rule}}}")


def test_a_weak_rsa_key_verifies_nothing() -> None:
    data = config(one=provider(local_jwks={"inline_string": jwks(_WEAK)}))

    verdict = Caller(parse(data, STRICT)).send(bearer(token(header={"alg": "RS256", "kid": "k"})))

    assert isinstance(verdict, LocalReply)
    assert verdict.details == "meshsdk_refused{jwt-weak-key}"


# -- the warm cache -------------------------------------------------------------------------------


def _cached(caller: Caller) -> int:
    (rule,) = caller.filter.rules
    authenticator = rule.requirement
    assert isinstance(authenticator, Authenticator)
    return len(authenticator.cache.entries)


def test_a_token_is_kept_until_it_expires() -> None:
    caller = Caller(parse(config()))
    request = bearer(token())

    first = caller.status(request)
    kept = _cached(caller)
    caller.clock.now += 700.0
    last = caller.status(request)

    assert (first, kept, last, _cached(caller)) == (200, 1, 401, 0)


def test_the_cache_is_bounded_and_keeps_no_bad_token() -> None:
    caller = Caller(parse(config(one=provider(jwt_cache_config={"jwt_cache_size": 2}))))

    for n in range(5):
        assert caller.status(bearer(token({**CLAIMS, "sub": str(n)}))) == 200
        assert caller.status(bearer(token({**CLAIMS, "sub": str(n)}, secret=b"x" * 32))) == 401

    assert _cached(caller) == 2


def test_one_requirements_verdict_is_not_anothers() -> None:
    aimed = {"provider_and_audiences": {"provider_name": "one", "audiences": ["ours"]}}
    rules = [
        {"match": {"path": "/any"}, "requires": ONE},
        {"match": {"prefix": "/"}, "requires": aimed},
    ]
    caller = Caller(parse(config(rules=rules)))
    headers = bearer(token()).headers

    assert caller.status(Request("GET", "h.test", "/any", headers)) == 200
    assert caller.status(Request("GET", "h.test", "/", headers)) == 403


# -- configuration --------------------------------------------------------------------------------


def test_a_condition_that_envoy_skips_exempts_no_request() -> None:
    never = {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 0}}}
    caller = Caller(parse(config(rules=[{"match": never, "requires": ONE}])))

    assert caller.status(bearer()) == 401


@pytest.mark.parametrize(
    ("one", "problem"),
    [
        (provider(local_jwks={"inline_string": "{}"}), "Jwks does not have [keys] field"),
        (provider(local_jwks={"filename": "/nowhere/jwks"}), "cannot read /nowhere/jwks"),
        (provider(local_jwks=None), "remote_jwks, local_jwks"),
        (provider(zzz=1), "refused: unlisted"),
    ],
)
def test_keys_that_cannot_be_used_refuse_the_configuration(one: Json, problem: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(config(one=one))

    assert problem in str(refusal.value)


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "jwks"
    file.write_text(jwks(KEY))
    caller = Caller(parse(config(one=provider(local_jwks={"filename": str(file)}))))

    assert caller.status(bearer(token())) == 200


def test_a_route_names_its_requirement_or_turns_the_filter_off() -> None:
    whole = parse(config(requirement_map={"optional": {"allow_missing": {}}}))

    def status(**route: object) -> int:
        override = jwt_authn_filter.parse_override(Reader(route), ENVOY)(whole)
        assert isinstance(override, jwt_authn_filter.JwtAuthn)
        return Caller(override).status(bearer("bad"))

    assert status(disabled=True) == 200
    assert status(requirement_name="optional") == 401
    assert status(requirement_name="unknown") == 403


def test_the_key_is_bound_to_its_provider() -> None:
    other = {**KEY, "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg"}
    two = provider(issuer="other", local_jwks={"inline_string": jwks(other)})
    data = config({"allow_missing": {}}, providers={"one": provider(), "two": two})
    signed_by_one = token({**CLAIMS, "iss": "other"}, secret=SECRET)

    assert Caller(parse(data)).status(bearer(signed_by_one)) == 401


def test_signed_and_payload_are_what_came() -> None:
    text = token().rpartition(".")[0]

    assert Caller(parse(config(), STRICT)).status(bearer(f"{text}.{signature(text)}")) == 200


def test_claims_of_good_tokens_are_told_to_the_application() -> None:
    caller = Caller(parse(config()))

    caller.send(bearer(token()))

    assert caller.context.claims == (CLAIMS,)
