import pytest

from meshsdk.control_plane.tokens import OWN_ISSUER, TokenIssuer, mint, workload_of
from meshsdk.errors import ConfigError
from meshsdk.identity.token_key import TokenKey
from meshsdk.testing.clock import FakeClock

KEY = TokenKey.generate()
OWN = TokenIssuer.of(OWN_ISSUER, KEY.jwks)
CLOCK = FakeClock()


def subject(sub: str) -> str:
    now = int(CLOCK.time())
    claims = {"iss": OWN_ISSUER, "sub": sub, "aud": ["istio-ca"], "exp": now + 60}
    return f"Bearer {KEY.sign(claims)}"


def test_a_minted_token_proves_its_workload() -> None:
    token = mint(KEY, "shop", "cart", CLOCK, 60.0)

    assert workload_of(f"Bearer {token}", [OWN], CLOCK) == ("shop", "cart")


def test_a_token_ends() -> None:
    clock = FakeClock()
    token = mint(KEY, "shop", "cart", clock, 60.0)

    clock.advance(60.5)

    assert workload_of(f"Bearer {token}", [OWN], clock) is None


@pytest.mark.parametrize(
    "sub",
    [
        "system:serviceaccount:payments/sa/x:cart",  # would be an ID of the namespace payments
        "system:serviceaccount:shop:cart/sa/admin",
        "system:serviceaccount:shop:",
        "system:serviceaccount::cart",
        "system:serviceaccount:shop:..",
        "system:serviceaccount:shop:cart\n",
        "system:node:shop:cart",
        "cart",
    ],
)
def test_a_subject_that_is_no_service_account_proves_nothing(sub: str) -> None:
    assert workload_of(subject(sub), [OWN], CLOCK) is None


@pytest.mark.parametrize(("namespace", "account"), [("a/sa/b", "c"), ("", "c"), ("a", "C")])
def test_no_token_is_minted_for_such_names(namespace: str, account: str) -> None:
    with pytest.raises(ConfigError, match="names of Kubernetes"):
        mint(KEY, namespace, account, CLOCK, 60.0)


def test_a_key_of_another_issuer_is_none() -> None:
    other = TokenIssuer.of("https://other.example", KEY.jwks)

    assert workload_of(subject("system:serviceaccount:shop:cart"), [other], CLOCK) is None


def test_a_key_set_that_is_none_is_refused_by_the_name_of_its_issuer() -> None:
    with pytest.raises(ConfigError, match="JSON Web Key Set"):
        TokenIssuer.of("https://other.example", b"[]")


@pytest.mark.parametrize(
    "more",
    [
        {"aud": ["other"]},
        {"aud": "istio-ca"},  # no list
        {"exp": None},
        {"exp": 0},
        {"iss": "https://other.example"},
    ],
)
def test_a_token_is_for_us_and_ends(more: dict[str, object]) -> None:
    now = int(CLOCK.time())
    claims = {
        "iss": OWN_ISSUER,
        "sub": "system:serviceaccount:shop:cart",
        "aud": ["istio-ca"],
        "exp": now + 60,
        **more,
    }
    said = {name: value for name, value in claims.items() if value is not None}

    assert workload_of(f"Bearer {KEY.sign(said)}", [OWN], CLOCK) is None


def test_a_token_is_signed_by_its_issuer_and_called_a_bearers() -> None:
    forged = mint(TokenKey.generate(), "shop", "cart", CLOCK, 60.0)
    good = mint(KEY, "shop", "cart", CLOCK, 60.0)

    assert workload_of(f"Bearer {forged}", [OWN], CLOCK) is None
    assert workload_of(good, [OWN], CLOCK) is None
