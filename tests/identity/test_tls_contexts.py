from dataclasses import replace

import pytest

from meshsdk.clock import SystemClock
from meshsdk.errors import ConfigError, IdentityError
from meshsdk.identity import SourceState, TrustBundles, X509Context
from meshsdk.identity.tls_contexts import TlsContexts
from meshsdk.identity.tls_params import CaTrust, SpiffeTrust, TlsParams, Validation
from meshsdk.identity.x509_context import NO_IDENTITY
from meshsdk.testing._handshake import contexts_of, shake
from meshsdk.testing.ca import FakeCa

CA = FakeCa("cluster.local")
CLIENT = TlsParams(validation=Validation(SpiffeTrust()), alpn=("http/1.1",))
SERVER = replace(CLIENT, require_client_certificate=True)
WEB = TlsParams(certificate=None, validation=Validation(CaTrust(CA.bundle)))


class HandClock(SystemClock):
    """The machine's clock, moved on by hand."""

    __slots__ = ("ahead",)

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return SystemClock.time() + self.ahead


def test_equal_settings_share_one_context() -> None:
    contexts = contexts_of(CA.context("shop/a"))

    assert contexts.client(CLIENT) is contexts.client(replace(CLIENT))
    assert contexts.client(CLIENT) is not contexts.client(replace(CLIENT, alpn=("h2",)))
    assert contexts.client(SERVER) is not contexts.server(SERVER)


def test_a_source_that_repeats_itself_rotates_nothing() -> None:
    svid = CA.svid("shop/a")
    contexts = contexts_of(X509Context((svid,), TrustBundles(flat=CA.bundle)))
    before = contexts.client(CLIENT)

    same = contexts.status.received(X509Context((svid,), TrustBundles(flat=CA.bundle)))
    adoption = contexts.adopt(same)

    assert not adoption.changed
    assert contexts.client(CLIENT) is before


def test_a_rotation_replaces_contexts_before_the_next_lookup_and_leaves_the_old_ones_alone() -> (
    None
):
    contexts, serving = contexts_of(CA.context("shop/a")), contexts_of(CA.context("shop/s"))
    old, web = contexts.client(CLIENT), contexts.client(WEB)

    adoption = contexts.adopt(contexts.status.received(CA.context("shop/b")))

    assert adoption.changed
    assert contexts.client(CLIENT) is not old
    assert contexts.client(WEB) is web, "its settings need no identity of ours"
    ids = [
        shake(context, serving.server(SERVER)).mesh_server.peer_id
        for context in (old, contexts.client(CLIENT))
    ]
    assert [str(each)[-4:] for each in ids] == ["sa/a", "sa/b"]


def test_rotations_under_handshakes_break_none() -> None:
    contexts, serving = contexts_of(CA.context("shop/a")), contexts_of(CA.context("shop/s"))
    rotations = 0

    def rotate() -> None:
        nonlocal rotations
        rotations += 1
        contexts.adopt(contexts.status.received(CA.context(f"shop/a{rotations}")))
        serving.adopt(serving.status.received(CA.context(f"shop/s{rotations}")))

    outcomes = [
        shake(contexts.client(CLIENT), serving.server(SERVER), between=rotate) for _ in range(10)
    ]

    assert rotations == 40
    assert all(outcome.succeeded for outcome in outcomes)
    assert str(outcomes[-1].mesh_client.peer_id).endswith("/sa/s36")


def test_a_removed_root_refuses_the_next_handshake() -> None:
    other = FakeCa("cluster.local")
    contexts, serving = contexts_of(CA.context("shop/a")), contexts_of(CA.context("shop/s"))
    assert shake(contexts.client(CLIENT), serving.server(SERVER)).succeeded

    own = contexts.status.usable().svids
    contexts.adopt(contexts.status.received(X509Context(own, TrustBundles(flat=other.bundle))))

    assert not shake(contexts.client(CLIENT), serving.server(SERVER)).succeeded


def test_without_an_identity_the_error_says_what_is_awaited() -> None:
    contexts = TlsContexts(SystemClock())
    contexts.adopt(NO_IDENTITY.failed(SourceState.UNREACHABLE, "socket not found"))

    with pytest.raises(IdentityError, match=r"no identity yet.*unreachable socket not found"):
        contexts.client(CLIENT)
    assert contexts.client(WEB) is contexts.client(WEB)


def test_our_expired_certificate_stops_new_connections_though_nobody_tells_us() -> None:
    clock = HandClock()
    contexts = TlsContexts(clock)
    contexts.adopt(NO_IDENTITY.received(CA.context("shop/a", ttl=600.0)))
    contexts.client(CLIENT)
    contexts.adopt(contexts.status.failed(SourceState.UNREACHABLE, "agent gone"))
    contexts.client(CLIENT)

    clock.ahead = 601.0

    with pytest.raises(IdentityError, match=r"expired.*unreachable: agent gone"):
        contexts.client(CLIENT)
    contexts.client(WEB)
    contexts.adopt(contexts.status.received(CA.context("shop/a")))
    contexts.client(CLIENT)


def test_settings_that_are_no_longer_asked_for_are_not_rebuilt() -> None:
    contexts = contexts_of(CA.context("shop/a"))
    unsettled = replace(CLIENT, alpn=("h2",))
    for params in (CLIENT, unsettled):
        contexts.client(params)
    contexts.adopt(contexts.status.received(CA.context("shop/b")))
    rebuilt = contexts.client(CLIENT)

    contexts.adopt(contexts.status.received(CA.context("shop/c")))

    assert contexts.client(CLIENT) is not rebuilt
    assert contexts.kept == 1


def test_the_number_of_contexts_is_bounded() -> None:
    contexts = TlsContexts(SystemClock(), limit=2)
    contexts.adopt(NO_IDENTITY.received(CA.context("shop/a")))

    for name in ("a", "b", "c"):
        contexts.client(replace(CLIENT, alpn=(name,)))

    assert contexts.kept == 2


def test_a_context_that_cannot_be_rebuilt_is_reported_and_fails_by_name() -> None:
    contexts = contexts_of(CA.context("shop/a"))
    contexts.client(CLIENT)
    ambiguous = X509Context((CA.svid("shop/a"), CA.svid("shop/b")), TrustBundles(flat=CA.bundle))

    adoption = contexts.adopt(contexts.status.received(ambiguous))

    assert [type(error) for error in adoption.errors] == [IdentityError]
    with pytest.raises(IdentityError, match="expected one SVID, found 2"):
        contexts.client(CLIENT)


def test_settings_that_are_wrong_fail_each_time_by_name() -> None:
    contexts = contexts_of(CA.context("shop/a"))

    for _ in range(2):
        with pytest.raises(ConfigError, match="cipher_suites"):
            contexts.client(replace(CLIENT, cipher_suites=("NONE",)))
