"""The index of policies decides nothing: with and without it the same policy answers."""

import random

import pytest

from meshsdk.call.message import Request
from meshsdk.config.reader import Reader
from meshsdk.filters.rbac_engine import Names, RuleEngine, parse_rules
from tests.filters.policy_case import ANY, Config, Given, header, peer, principal

NAMES = Names.of("", "enforced")
PEERS = [f"spiffe://td/ns/n{i % 3}/sa/s{i}" for i in range(6)]
CONDITIONS: list[Config] = [
    *(principal(exact=uri) for uri in PEERS),
    *(principal(safe_regex={"regex": f".*/ns/n{i}/.*"}) for i in range(3)),
    principal(safe_regex={"regex": "spiffe://.+/ns/n1/(.+/|)sa/s1(/.+)?"}),
    principal(prefix="spiffe://td/ns/n2/"),
    principal(suffix="/sa/s4"),
    principal(safe_regex={"regex": "a|spiffe://td/ns/n0/sa/s0"}),
    header(":method", "GET"),
    header(":method", "PUT"),
    *({"url_path": {"path": {"exact": f"/p{i}"}}} for i in range(3)),
    {"url_path": {"path": {"prefix": "/p"}}},
    header("x", "1"),
    ANY,
]


def _principal(chance: random.Random, depth: int) -> Config:
    kind = chance.choice(("leaf", "leaf", "and_ids", "or_ids", "not_id")) if depth else "leaf"
    if kind == "leaf":
        return chance.choice(CONDITIONS)
    if kind == "not_id":
        return {kind: _principal(chance, depth - 1)}
    return {kind: {"ids": [_principal(chance, depth - 1) for _ in range(chance.randint(1, 3))]}}


def _engine(chance: random.Random, count: int) -> RuleEngine:
    policies = {
        f"p{i:02}": {
            "permissions": [ANY],
            "principals": [_principal(chance, 2) for _ in range(chance.randint(1, 2))],
        }
        for i in range(count)
    }
    return parse_rules(Reader({"policies": policies}), NAMES, strict=False)


@pytest.mark.parametrize("seed", range(12))
def test_the_index_never_hides_a_policy(seed: int) -> None:
    chance = random.Random(seed)
    engine = _engine(chance, 24)
    plain = RuleEngine(
        engine.action, engine.policies, engine.tests, engine.on_match, engine.on_none
    )
    givens = [
        *(peer(uri) for uri in PEERS),
        peer("x", dns=PEERS[:2]),
        peer(subject=PEERS[0]),
        Given(),
        Given(tls=True),
    ]

    for given in givens:
        for method in ("GET", "PUT"):
            for path in ("/p0", "/p1?q", "/x"):
                request = Request(method, "a", path)
                assert engine.decide(request, given.context()) == plain.decide(
                    request, given.context()
                )


def test_a_thousand_policies_leave_a_few_to_ask() -> None:
    policies = {
        f"p{i:03}": {
            "permissions": [{"url_path": {"path": {"prefix": f"/{i}"}}}],
            "principals": [
                principal(exact=f"spiffe://td/ns/n/sa/s{i}")
                if i % 2
                else principal(safe_regex={"regex": f".*/ns/x{i}/.*"})
            ],
        }
        for i in range(1000)
    }
    index = parse_rules(Reader({"policies": policies}), NAMES, strict=False).index
    assert index is not None

    def candidates(uri: str) -> int:
        return index.candidates(Request("GET", "a", "/"), peer(uri).context())

    assert candidates("spiffe://td/ns/n/sa/s7") == 1 << 7
    assert candidates("spiffe://td/ns/x8/sa/s") == 1 << 8
    assert candidates("spiffe://td/ns/x8/ns/x6/sa") == 1 << 8 | 1 << 6
    assert candidates("spiffe://td/ns/y/sa/s") == 0


def test_a_few_policies_have_no_index() -> None:
    policies = {
        f"p{i}": {"permissions": [ANY], "principals": [principal(exact="x")]} for i in range(3)
    }

    assert parse_rules(Reader({"policies": policies}), NAMES, strict=False).index is None
