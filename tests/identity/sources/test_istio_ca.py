import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from meshsdk.clock import SystemClock
from meshsdk.errors import ConfigError
from meshsdk.identity import SourceState, SpiffeId
from meshsdk.identity.sources.istio_ca import CaRefusal, IstioCaSource
from meshsdk.testing.ca import FakeCa
from meshsdk.testing.clock import FakeClock, SeededRandom

CART = SpiffeId.of_workload("cluster.local", "shop", "cart")
RECORDED = json.loads((Path(__file__).parents[2] / "data/istio_ca.json").read_text())
Answer = tuple[str, ...] | CaRefusal | Exception


class ScriptedCaller:
    """Signs with a CA of its own, or answers what the test says."""

    def __init__(self, ca: FakeCa, *answers: Answer, roots: bytes = b"") -> None:
        self.ca = ca
        self.answers = list(answers)
        self.roots = roots
        self.requests: list[tuple[str, int]] = []

    def create_certificate(self, csr: str, ttl: int, /) -> tuple[str, ...] | CaRefusal:
        self.requests.append((csr, ttl))
        answer = self.answers.pop(0) if self.answers else self.sign(csr, ttl)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sign(self, csr: str, ttl: int) -> tuple[str, ...]:
        chain = self.ca.authority.sign(csr.encode(), CART, float(ttl))
        return (*(each.decode() for each in chain), self.ca.root_pem.decode())

    def mounted_roots(self) -> bytes:
        return self.roots


def a_source(
    *answers: Answer, roots: bytes = b"", ttl: float = 3600.0
) -> tuple[IstioCaSource, ScriptedCaller, FakeClock]:
    clock = FakeClock(time=SystemClock().time())
    caller = ScriptedCaller(FakeCa("cluster.local", clock), *answers, roots=roots)
    return IstioCaSource(caller, CART, clock, SeededRandom(), ttl), caller, clock


def test_a_certificate_and_its_roots_become_an_identity() -> None:
    source, caller, _ = a_source()

    context = source.poll().usable()

    assert context.svid().spiffe_id == CART
    assert context.bundles.flat == caller.ca.bundle


def test_the_request_has_no_subject_and_says_the_id() -> None:
    source, caller, _ = a_source()

    source.poll()

    csr = x509.load_pem_x509_csr(caller.requests[0][0].encode())
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert not list(csr.subject)
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(CART)]


def test_a_certificate_is_replaced_at_half_of_its_life_with_a_new_key() -> None:
    source, caller, clock = a_source(ttl=3600.0)
    first = source.poll().usable().svid()

    clock.advance(3600.0 * 0.48)
    early = source.poll().usable().svid()
    clock.advance(3600.0 * 0.04)
    late = source.poll().usable().svid()

    assert early == first
    assert late.certificate.private_key != first.certificate.private_key
    assert len(caller.requests) == 2


def test_a_ca_that_is_away_is_asked_five_times_within_four_seconds_then_slowly() -> None:
    away = CaRefusal("UNAVAILABLE", "connection refused")
    source, caller, clock = a_source(*[away] * 8)
    asked: list[float] = []

    status = source.poll()
    asked.append(0.0)
    for _ in range(2000):
        before = len(caller.requests)
        status = source.poll()
        if len(caller.requests) > before:
            asked.append(clock.monotonic() - 1000.0)
        clock.advance(0.02)

    assert status.state is SourceState.UNREACHABLE
    pauses = [later - sooner for sooner, later in pairwise(asked)]
    assert all(pause <= 1.7 for pause in pauses[:5])
    assert pauses[5] > 5.0


@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT"])
def test_a_ca_that_refuses_is_asked_again_slowly(code: str) -> None:
    source, caller, clock = a_source(CaRefusal(code, "request authenticate failure"))

    refused = source.poll()
    clock.advance(4.9)
    source.poll()
    asked_soon = len(caller.requests)
    clock.advance(5.2)
    served = source.poll()

    assert "request authenticate failure" in refused.detail
    assert asked_soon == 1
    assert served.state is SourceState.FRESH


def test_the_certificate_in_hand_serves_until_it_ends() -> None:
    away = CaRefusal("UNAVAILABLE")
    source, caller, clock = a_source(ttl=3600.0)
    first = source.poll().usable()
    caller.answers += [away] * 1000

    clock.advance(3000.0)
    later = source.poll()
    clock.advance(700.0)
    last = source.poll()

    assert (later.state, later.context) == (SourceState.UNREACHABLE, first)
    assert last.state is SourceState.EXPIRED


def test_a_token_that_cannot_be_read_is_named() -> None:
    source, _, _ = a_source(FileNotFoundError(2, "No such file", "/run/istio-token"))

    assert "/run/istio-token" in source.poll().detail


BAD_ANSWERS: tuple[Callable[[ScriptedCaller], Answer], ...] = (
    lambda caller: (caller.ca.root_pem.decode(),),
    lambda _: ("nonsense", "nonsense"),
    lambda caller: RECORDED["good EC P-256 CSR"]["cert_chain"],
    lambda _: ConfigError("cert_chain", "expected certificates"),
)


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_an_answer_that_is_no_certificate_of_our_key_is_refused(
    answer: Callable[[ScriptedCaller], Answer],
) -> None:
    source, caller, _ = a_source()
    caller.answers.append(answer(caller))

    status = source.poll()

    assert status.context is None
    assert status.state is SourceState.UNREACHABLE


CURVE, KEY_USAGE, SAN = (bytes.fromhex(oid) for oid in ("2a8648ce3d030107", "551d0f", "551d11"))


@pytest.mark.parametrize(
    ("before", "after"),
    [(CURVE, CURVE[:-1] + b"\x55"), (KEY_USAGE, SAN)],
    ids=["curve", "two SANs"],
)
@pytest.mark.parametrize("at", [0, 1], ids=["leaf", "beside the leaf"])
def test_an_answer_of_an_unknown_kind_does_not_raise(before: bytes, after: bytes, at: int) -> None:
    source, caller, _ = a_source()

    def sign(csr: str, ttl: int) -> tuple[str, ...]:
        chain = [*ScriptedCaller.sign(caller, csr, ttl), caller.ca.root_pem.decode()]
        der = x509.load_pem_x509_certificate(chain[at].encode()).public_bytes(Encoding.DER)
        changed = x509.load_der_x509_certificate(der.replace(before, after))
        chain[at] = changed.public_bytes(Encoding.PEM).decode()
        return tuple(chain)

    caller.sign = sign  # type: ignore[method-assign] # a CA that signs so
    status = source.poll()

    assert status.state is (SourceState.UNREACHABLE if at == 0 else SourceState.FRESH)


def test_the_answer_of_a_real_istiod_is_a_chain_without_its_root() -> None:
    # Four elements: leaf, intermediate, root, roots (FEED.md 2.2).
    answer = tuple(RECORDED["good EC P-256 CSR"]["cert_chain"])
    key = serialization.load_pem_private_key(RECORDED["key"].encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    recorded = x509.load_pem_x509_certificate(answer[0].encode())
    clock = FakeClock(time=recorded.not_valid_before_utc.timestamp() + 120.0)
    caller = ScriptedCaller(FakeCa(), answer)
    source = IstioCaSource(caller, CART, clock, SeededRandom(), new_key=lambda: key)

    status = source.poll()

    assert status.state is SourceState.FRESH, status.detail
    context = status.usable()
    assert context.svid().spiffe_id == CART
    assert len(context.svid().certificate.chain) == 2
    assert context.bundles.flat is not None
    assert len(context.bundles.flat.roots) == 1


def test_mounted_roots_are_trusted_beside_those_of_the_answer() -> None:
    other = FakeCa("cluster.local")
    source, caller, _ = a_source(roots=other.root_pem)

    bundle = source.poll().usable().bundles.flat

    assert bundle is not None
    assert set(bundle.roots) == {*other.bundle.roots, *caller.ca.bundle.roots}


def test_new_mounted_roots_count_at_once_and_ask_for_a_new_certificate() -> None:
    other = FakeCa("cluster.local")
    source, caller, _ = a_source()
    first = source.poll().usable()
    caller.answers += [CaRefusal("UNAVAILABLE")]

    caller.roots = other.root_pem
    renewed = source.poll().usable()

    assert renewed.svid() == first.svid()
    assert renewed.bundles.flat is not None
    assert other.bundle.roots[0] in renewed.bundles.flat.roots
    assert len(caller.requests) == 2


def test_half_written_mounted_roots_change_nothing() -> None:
    source, caller, _ = a_source()
    first = source.poll()

    caller.roots = b"-----BEGIN CERTIFICATE-----\nMIIB"
    later = source.poll()

    assert later.context is first.context
