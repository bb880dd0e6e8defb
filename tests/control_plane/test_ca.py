"""The CA over a real socket, asked by the source that applications use and case by case as a real
istiod was (recording 12)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.clock import SystemClock, SystemRandom
from meshsdk.config.bootstrap import Credentials, Server
from meshsdk.control_plane.authentication import Authenticator
from meshsdk.control_plane.ca import CertificateService
from meshsdk.control_plane.state_directory import ROOTS, LastGood, StateDirectory
from meshsdk.control_plane.tokens import OWN_ISSUER, TokenIssuer, mint
from meshsdk.errors import IdentityError, UsageError
from meshsdk.identity import SourceState, X509Context
from meshsdk.identity.sources.istio_ca import CaRefusal, IstioCaSource
from meshsdk.identity.token_key import TokenKey
from meshsdk.runtime.istio_ca import IstioCaCaller
from meshsdk.testing.ca import FakeCa
from meshsdk.wire.grpc_server import GrpcServer

RECORDED = json.loads((Path(__file__).parents[1] / "data/istio_ca.json").read_text())
NAME = "istiod.istio-system.svc"
CLOCK = SystemClock()
CART = SpiffeId.of_workload("cluster.local", "shop", "cart")


@dataclass
class Running:
    state: StateDirectory
    tls_port: int
    mutual_port: int
    plain_port: int
    directory: Path

    def token(self, text: str | None = None) -> Path:
        path = self.directory / "token"
        path.write_text(text or mint(self.state.token_key(), "shop", "cart", CLOCK, 600.0))
        return path

    def credentials(
        self, token_file: str = "", certificate_file: str = "", key_file: str = ""
    ) -> Credentials:
        roots = str(self.state.path / ROOTS)
        return Credentials(True, roots, certificate_file, key_file, token_file, NAME)

    def ask(
        self, csr: str, ttl: int = 3600, token: str | None = None
    ) -> tuple[str, ...] | CaRefusal:
        credentials = self.credentials(token_file=str(self.token(token)))
        return IstioCaCaller(Server(f"127.0.0.1:{self.tls_port}", credentials)).create_certificate(
            csr, ttl
        )

    def source(self, server: Server, ttl: float = 3600.0) -> IstioCaSource:
        return IstioCaSource(IstioCaCaller(server), CART, CLOCK, SystemRandom(), ttl)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    state = StateDirectory(tmp_path / "state", "cluster.local", CLOCK)
    state.prepare()
    signing = LastGood(state)
    own = TokenIssuer.of(OWN_ISSUER, state.token_key().jwks)
    server = GrpcServer(threads=2)
    CertificateService(signing, Authenticator("cluster.local", lambda: [own], CLOCK)).add_to(server)

    ports = (
        server.listen(tls=lambda: signing().server_tls(("127.0.0.1",), mutual=False)),
        server.listen(tls=lambda: signing().server_tls(("127.0.0.1",), mutual=True)),
        server.listen(),
    )
    server.start()
    yield Running(state, *ports, tmp_path)
    server.stop()


def test_the_source_gets_an_identity_by_token(running: Running) -> None:
    credentials = running.credentials(token_file=str(running.token()))

    status = running.source(Server(f"127.0.0.1:{running.tls_port}", credentials)).poll()

    assert status.state is SourceState.FRESH, status.detail
    context = status.usable()
    assert context.svid().spiffe_id == CART
    assert context.bundles.flat is not None
    leaf = x509.load_der_x509_certificate(context.svid().certificate.leaf)
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() == 3720.0
    assert not list(leaf.subject)


def test_a_token_file_is_read_again_for_each_request(running: Running) -> None:
    token = running.token("not a token")
    credentials = running.credentials(token_file=str(token))
    caller = IstioCaCaller(Server(f"127.0.0.1:{running.tls_port}", credentials))

    refused = caller.create_certificate(recorded_csr(), 60)
    running.token()
    served = caller.create_certificate(recorded_csr(), 60)

    assert refused == CaRefusal("UNAUTHENTICATED", "request authenticate failure")
    assert not isinstance(served, CaRefusal)


def test_a_client_certificate_beats_a_token_that_names_another(running: Running) -> None:
    svid = running.state.signing().authority.mint(CART)
    files = {
        "certificate_file": svid.certificate.chain_pem,
        "key_file": svid.certificate.private_key_pem,
    }
    for name, pem in files.items():
        (running.directory / name).write_bytes(pem)
    other = mint(running.state.token_key(), "shop", "other", CLOCK, 600.0)
    credentials = running.credentials(
        token_file=str(running.token(other)),
        **{name: str(running.directory / name) for name in files},
    )
    caller = IstioCaCaller(Server(f"127.0.0.1:{running.mutual_port}", credentials))

    answer = caller.create_certificate(recorded_csr(), 60)

    assert not isinstance(answer, CaRefusal)
    assert uris(answer[0]) == [str(CART)]


@pytest.mark.parametrize("is_fixed", [True, False])
def test_a_mutual_port_takes_nobody_without_a_certificate(running: Running, is_fixed: bool) -> None:
    tls = running.state.signing().server_tls(("127.0.0.1",), mutual=True)
    server = GrpcServer(threads=1)
    own = TokenIssuer.of(OWN_ISSUER, running.state.token_key().jwks)
    service = CertificateService(
        running.state.signing, Authenticator("cluster.local", lambda: [own], CLOCK)
    )
    service.add_to(server)
    port = server.listen(tls=tls if is_fixed else lambda: tls)
    server.start()
    credentials = running.credentials(token_file=str(running.token()))
    caller = IstioCaCaller(Server(f"127.0.0.1:{port}", credentials))

    answer = caller.create_certificate(recorded_csr(), 60)
    server.stop()

    assert isinstance(answer, CaRefusal)
    assert answer.code == "UNAVAILABLE"


def test_on_plaintext_there_is_no_ca(running: Running) -> None:
    server = Server(f"127.0.0.1:{running.plain_port}", Credentials(tls=False))

    answer = IstioCaCaller(server).create_certificate(recorded_csr(), 60)

    assert isinstance(answer, CaRefusal)
    assert answer.code == "UNIMPLEMENTED"


def recorded_csr() -> str:
    return str(RECORDED["good EC P-256 CSR"]["csr"])


def uris(pem: str) -> list[str]:
    leaf = x509.load_pem_x509_certificate(pem.encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)


# Recorded as we cannot say it again: its own connection, or another port.
ELSEWHERE = {
    "key",
    "token with unknown kid",
    "plaintext 15010",
    "renewal by client certificate, no token",
    "client certificate of cart, token of another account",
    "leaf only as client chain (no intermediate)",
    "ImpersonatedIdentity metadata",
    "token signed by an unknown key",
    "garbage token",
}
CASES = [name for name in RECORDED if name not in ELSEWHERE]


@pytest.mark.parametrize("name", CASES)
def test_a_request_that_istiod_was_recorded_with_is_answered_alike(
    running: Running, name: str
) -> None:
    case = RECORDED[name]
    asked = int(case["validity_duration"] or 0)

    answer = running.ask(str(case["csr"]), asked, said(running.state.token_key(), case))

    if case["status"] == "OK":
        assert not isinstance(answer, CaRefusal)
        assert uris(answer[0]) == [str(CART)]
        lifetime = 86400 if asked <= 0 else asked
        assert seconds_left(answer[0]) == pytest.approx(lifetime, abs=5)
    else:
        assert isinstance(answer, CaRefusal)
        assert answer.code == case["status"]
        if case["status"] == "UNAUTHENTICATED":
            assert answer.details == case["details"]


def said(key: TokenKey, case: Mapping[str, object]) -> str:
    """The recorded token, signed by our key and moved to now."""
    claims = dict(cast("Mapping[str, object]", case["token_claims"] or {}))
    if not claims:
        return " "
    claims["iss"] = OWN_ISSUER if claims.get("iss") == "https://test.issuer" else claims.get("iss")
    issued = claims.get("iat")
    for name in ("iat", "nbf", "exp"):
        found = claims.get(name)
        if isinstance(found, int) and isinstance(issued, int):
            claims[name] = found - issued + int(CLOCK.time())
    token = key.sign(claims)
    prefix = str(case["authorization"]).removesuffix("<jwt>")
    return token if prefix == "Bearer " else f"{prefix}{token}".strip()


def seconds_left(pem: str) -> float:
    leaf = x509.load_pem_x509_certificate(pem.encode())
    return leaf.not_valid_after_utc.timestamp() - CLOCK.time()


def test_the_root_rotates_with_overlap_while_the_server_runs(running: Running) -> None:
    credentials = running.credentials(token_file=str(running.token()))
    source = running.source(Server(f"127.0.0.1:{running.tls_port}", credentials))
    before = source.poll().usable()
    old = running.state.signing().authority

    running.state.prepare_root()
    prepared = source.poll().usable()
    running.state.activate_root()
    activated = source.poll().usable()
    running.state.finish_root()
    finished = source.poll().usable()

    new = running.state.signing().authority
    assert [len(roots(each)) for each in (before, prepared, activated, finished)] == [1, 2, 2, 1]
    assert issuer(prepared) == old.certificate.subject
    assert issuer(activated) == issuer(finished) == new.certificate.subject
    assert new.certificate.subject != old.certificate.subject


def roots(context: X509Context) -> tuple[bytes, ...]:
    assert context.bundles.flat is not None
    return context.bundles.flat.roots


def issuer(context: X509Context) -> x509.Name:
    return x509.load_der_x509_certificate(context.svid().certificate.leaf).issuer


def test_steps_of_a_rotation_out_of_order_are_refused(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path, "cluster.local", CLOCK)
    state.prepare()

    with pytest.raises(UsageError, match="no new root"):
        state.activate_root()
    state.prepare_root()
    with pytest.raises(UsageError, match="prepared already"):
        state.prepare_root()
    with pytest.raises(UsageError, match="does not sign yet"):
        state.finish_root()


def test_nothing_is_prepared_where_there_is_no_root(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path, "cluster.local", CLOCK)

    with pytest.raises(FileNotFoundError):
        state.prepare_root()
    state.prepare()

    with pytest.raises(UsageError, match="no new root"):
        state.activate_root()


def test_an_activation_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path, "cluster.local", CLOCK)
    state.prepare()
    state.prepare_root()
    key = (tmp_path / "next-key.pem").read_bytes()
    state.activate_root()
    activated = state.signing_files()

    (tmp_path / "next-key.pem").write_bytes(key)  # as if it had ended before the last step
    state.activate_root()

    assert state.signing_files() == activated


def test_a_given_root_ends_a_rotation(tmp_path: Path) -> None:
    """Else the prepared key would sign under the certificate of another."""
    state = StateDirectory(tmp_path, "cluster.local", CLOCK)
    state.prepare()
    given = state.signing_files()
    state.prepare_root()
    state.give(*given)

    with pytest.raises(UsageError, match="trusted no more"):
        state.activate_root()

    assert state.signing_files() == given
    state.prepare_root()


def test_files_that_do_not_fit_leave_the_last_good_in_force(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path, "cluster.local", CLOCK)
    state.prepare()
    signing = LastGood(state)
    before = signing()

    (tmp_path / "ca-key.pem").write_bytes(b"half")
    half = signing()
    (tmp_path / ROOTS).unlink()
    gone = signing()

    assert half == gone == before


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state", "cluster.local", CLOCK)
    state.prepare()
    state.prepare_root()

    modes = {path.name: path.stat().st_mode & 0o777 for path in state.path.iterdir()}

    assert modes.pop(ROOTS) == 0o644
    assert set(modes.values()) == {0o600}
    assert state.path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_no_key_is_taken_from_where_others_write(tmp_path: Path, mode: int) -> None:
    state = StateDirectory(tmp_path / "state", "cluster.local", CLOCK)
    state.prepare()
    files = state.signing_files()
    state.path.chmod(mode)

    for action in (state.prepare, state.token_key, lambda: state.give(*files)):
        with pytest.raises(
            UsageError, match=f"owner alone may write, found mode 0{mode & 0o777:o}"
        ):
            action()


def test_a_given_root_signs(tmp_path: Path) -> None:
    given = FakeCa("cluster.local")
    key = given.authority.key
    state = StateDirectory(tmp_path, "cluster.local", CLOCK)

    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    state.give(given.root_pem, pem)

    assert state.signing().roots_pem == given.root_pem
    with pytest.raises(IdentityError):
        state.give(FakeCa("cluster.local").root_pem, pem)


def test_lifetimes_are_cut_where_the_user_wants_fast_rotation(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path, "cluster.local", CLOCK)
    state.prepare()
    service = CertificateService(
        state.signing, Authenticator("cluster.local", lambda: [], CLOCK), longest=10.0
    )

    assert service.ttl({"validity_duration": "86400"}) == 10.0
