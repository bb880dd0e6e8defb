import asyncio
import socket
import ssl
import sys
import tempfile
from base64 import b64encode
from dataclasses import replace
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from meshsdk.clock import SystemClock
from meshsdk.errors import ConfigError, IdentityError
from meshsdk.identity import (
    PeerRefusedError,
    Refusal,
    SpiffeId,
    TlsCertificate,
    TrustBundle,
    TrustBundles,
    X509Context,
)
from meshsdk.identity.rotating import RotatingContext
from meshsdk.identity.tls import build_snapshot, usable_sni
from meshsdk.identity.tls_objects import MeshSSLSocket
from meshsdk.identity.tls_params import (
    AnyOf,
    CaTrust,
    DnsNames,
    ExactUris,
    SpiffeTrust,
    SvidChoice,
    TlsParams,
    UriPrefixes,
    Validation,
)
from meshsdk.testing._handshake import contexts_of, shake
from meshsdk.testing.ca import FakeCa, chain_pem, private_key_pem

CA = FakeCa("cluster.local")
OTHER = FakeCa("other.test")
ORDER, PAYMENT = CA.context("shop/order"), CA.context("shop/payment")
PAYMENT_ID = "spiffe://cluster.local/ns/shop/sa/payment"

SPIFFE = Validation(SpiffeTrust())
CLIENT = TlsParams(validation=SPIFFE, alpn=("istio-http/1.1", "istio", "http/1.1"))
SERVER = TlsParams(validation=SPIFFE, alpn=("h2", "http/1.1"), require_client_certificate=True)


# A workload of a foreign trust domain whose CA nobody here trusts; it trusts ours.
STRANGER = X509Context(
    (OTHER.svid("shop/order"),),
    TrustBundles.by_name({"cluster.local": CA.bundle}),
)


def now() -> float:
    return SystemClock().time()


def client(params: TlsParams = CLIENT, identity: X509Context | None = ORDER) -> ssl.SSLContext:
    return build_snapshot(params, identity, now, server=False).context


def server(params: TlsParams = SERVER, identity: X509Context | None = PAYMENT) -> ssl.SSLContext:
    return build_snapshot(params, identity, now, server=True).context


def web_certificate(*sans: x509.GeneralName) -> tuple[TlsCertificate, TrustBundle]:
    """A server certificate of the ordinary web, and its CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(CA.authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(CA.authority.certificate.not_valid_before_utc)
        .not_valid_after(CA.authority.certificate.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName(sans), critical=True)
        .sign(CA.authority.key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return TlsCertificate.from_der(leaf.public_bytes(Encoding.DER), private), CA.bundle


def refusal(error: ssl.SSLError | None) -> Refusal:
    assert isinstance(error, PeerRefusedError)
    return error.refusal


# ---- identities and allow lists


def test_both_sides_know_each_other_after_the_handshake() -> None:
    handshake = shake(client(), server())

    assert str(handshake.mesh_client.peer_id) == PAYMENT_ID
    assert str(handshake.mesh_server.peer_id) == "spiffe://cluster.local/ns/shop/sa/order"
    certificate = handshake.mesh_client.peer_certificate
    assert certificate is not None
    assert certificate.der == PAYMENT.svids[0].certificate.leaf
    assert handshake.client.selected_alpn_protocol() == "http/1.1"
    assert handshake.client.version() == "TLSv1.3"


@pytest.mark.parametrize(
    ("allowed", "passes"),
    [
        (ExactUris(frozenset({PAYMENT_ID, "spiffe://cluster.local/ns/shop/sa/x"})), True),
        (ExactUris(frozenset({f"{PAYMENT_ID}s"})), False),
        (UriPrefixes(("spiffe://cluster.local/",)), True),
        (UriPrefixes(("spiffe://cluster.loca/",)), False),
        (AnyOf((DnsNames(("a.test",)), UriPrefixes(("spiffe://cluster.local/ns/shop/",)))), True),
        (AnyOf(()), False),
    ],
)
def test_a_server_that_is_not_in_the_san_list_is_refused(
    allowed: ExactUris | UriPrefixes | AnyOf, passes: bool
) -> None:
    handshake = shake(
        client(replace(CLIENT, validation=Validation(SpiffeTrust(), allowed))), server()
    )

    assert handshake.succeeded is passes
    if not passes:
        error = handshake.client_error
        assert refusal(error) is Refusal.NOT_ALLOWED
        assert isinstance(error, PeerRefusedError)
        assert (error.expected, error.found) == (allowed.describe(), f"'{PAYMENT_ID}'")


def test_a_flat_bundle_counts_for_our_trust_domain_and_those_that_the_feed_names() -> None:
    # Istio with trust domain aliases: one root signs for all of them.
    alias = CA.authority
    old_name = replace(alias, trust_domain="old.local").mint(
        SpiffeId.parse("spiffe://old.local/ns/shop/sa/order")
    )
    caller = client(identity=X509Context((old_name,), TrustBundles(flat=CA.bundle)))
    named = Validation(SpiffeTrust(frozenset({"old.local"})))

    unnamed = shake(caller, server())
    accepted = shake(caller, server(replace(SERVER, validation=named)))

    assert refusal(unnamed.server_error) is Refusal.UNKNOWN_TRUST_DOMAIN
    assert str(accepted.mesh_server.peer_id) == "spiffe://old.local/ns/shop/sa/order"


def test_a_trust_domain_that_the_feed_names_gets_no_root_of_another_by_name() -> None:
    bundles = TrustBundles.by_name({"cluster.local": CA.bundle, "other.test": OTHER.bundle})
    forged = replace(OTHER.authority, trust_domain="cluster.local").mint(
        SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/order")
    )
    named = Validation(SpiffeTrust(frozenset({"cluster.local", "other.test"})))
    ours = X509Context(PAYMENT.svids, bundles)
    forger = X509Context((forged,), bundles)

    at_server = shake(
        client(identity=forger), server(replace(SERVER, validation=named), identity=ours)
    )
    at_client = shake(
        client(replace(CLIENT, validation=named), identity=ours), server(identity=forger)
    )

    assert refusal(at_server.server_error) is Refusal.FOREIGN_ROOT
    assert refusal(at_client.client_error) is Refusal.FOREIGN_ROOT


def test_bundles_inside_the_tls_context_replace_our_own() -> None:
    inline = SpiffeTrust(frozenset({"other.test"}), TrustBundles(flat=OTHER.bundle))
    federated = X509Context((OTHER.svid("shop/order"),), TrustBundles(flat=CA.bundle))

    accepted = shake(
        client(identity=federated), server(replace(SERVER, validation=Validation(inline)))
    )
    ours_refused = shake(client(), server(replace(SERVER, validation=Validation(inline))))

    assert str(accepted.mesh_server.peer_id) == "spiffe://other.test/ns/shop/sa/order"
    assert accepted.mesh_server.peer_trust is None
    assert refusal(ours_refused.server_error) is Refusal.UNKNOWN_ISSUER


def test_a_context_that_brings_certificate_and_roots_needs_no_identity_of_ours() -> None:
    # Consul's feed: leaf, key and roots inside each TLS context.
    def inline(workload: str) -> TlsParams:
        trust = SpiffeTrust(bundles=TrustBundles(flat=OTHER.bundle))
        certificate = OTHER.svid(workload).certificate
        return replace(SERVER, certificate=certificate, validation=Validation(trust))

    handshake = shake(client(inline("shop/a"), None), server(inline("shop/b"), None))

    assert str(handshake.mesh_client.peer_id) == "spiffe://other.test/ns/shop/sa/b"
    assert str(handshake.mesh_server.peer_id) == "spiffe://other.test/ns/shop/sa/a"


def test_an_empty_bundle_trusts_nobody() -> None:
    revoked = X509Context(ORDER.svids, TrustBundles(flat=TrustBundle(())))

    assert refusal(shake(client(identity=revoked), server()).client_error) is Refusal.UNKNOWN_ISSUER


def test_a_connection_knows_whether_the_root_that_verified_its_peer_is_still_trusted() -> None:
    handshake = shake(client(), server())
    trust = handshake.mesh_client.peer_trust
    both = TrustBundle((*CA.bundle.roots, *OTHER.bundle.roots))

    assert trust is not None
    assert trust.holds_in(ORDER)
    assert trust.holds_in(X509Context((), TrustBundles(flat=both)))
    assert not trust.holds_in(X509Context((), TrustBundles(flat=OTHER.bundle)))
    assert not trust.holds_in(X509Context((), TrustBundles.by_name({"other.test": CA.bundle})))


def test_a_connection_ends_when_either_certificate_does() -> None:
    brief = CA.context("shop/order", ttl=60.0)

    ends = shake(client(identity=brief), server())

    assert ends.mesh_client.expires == brief.svids[0].not_after
    assert ends.mesh_server.expires == brief.svids[0].not_after


# ---- who presents what


def test_a_client_without_a_certificate_is_refused_where_one_is_required() -> None:
    handshake = shake(client(replace(CLIENT, certificate=None)), server())

    assert refusal(handshake.server_error) is Refusal.NO_CERTIFICATE


def test_where_none_is_required_a_client_may_present_none_but_not_a_bad_one() -> None:
    optional = server(replace(SERVER, require_client_certificate=False))

    without = shake(client(replace(CLIENT, certificate=None)), optional)
    good = shake(client(), optional)
    bad = shake(client(identity=STRANGER), optional)

    assert without.succeeded
    assert without.mesh_server.peer_id is None
    assert str(good.mesh_server.peer_id) == "spiffe://cluster.local/ns/shop/sa/order"
    assert refusal(bad.server_error) is Refusal.UNKNOWN_ISSUER


def test_the_svid_is_chosen_by_hint_where_there_are_several() -> None:
    identity = X509Context(
        (CA.svid("shop/a", hint="internal"), CA.svid("shop/b", hint="external")),
        TrustBundles(flat=CA.bundle),
    )
    chosen = replace(CLIENT, certificate=SvidChoice(hint="external"))

    handshake = shake(client(chosen, identity), server())

    assert str(handshake.mesh_server.peer_id) == "spiffe://cluster.local/ns/shop/sa/b"
    with pytest.raises(IdentityError, match=r"found 2: .*choose by hint or SPIFFE ID"):
        client(CLIENT, identity)


def test_a_server_without_a_certificate_and_a_client_without_validation_are_refused() -> None:
    with pytest.raises(ConfigError, match="tls_certificates: a server needs a certificate"):
        server(replace(SERVER, certificate=None))
    with pytest.raises(ConfigError, match="validation_context: required"):
        client(replace(CLIENT, validation=None))
    with pytest.raises(ConfigError, match="validation_context: required"):
        server(replace(SERVER, validation=None))


def test_no_context_is_built_from_an_expired_svid() -> None:
    expired = CA.context("shop/order", ttl=0.0)

    with pytest.raises(IdentityError, match="sa/order has expired: expected notAfter in the futu"):
        client(identity=expired)


# ---- ordinary TLS (DestinationRule SIMPLE)


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("api.example.com", True),
        ("API.example.com", True),
        ("www.sub.example.com", True),
        ("a.b.sub.example.com", False),
        ("sub.example.com", False),
        ("example.com", False),
    ],
)
def test_a_web_server_is_known_by_its_dns_names(name: str, passes: bool) -> None:
    certificate, bundle = web_certificate(
        x509.DNSName("api.example.com"), x509.DNSName("*.sub.example.com")
    )
    params = TlsParams(certificate=None, validation=Validation(CaTrust(bundle), DnsNames((name,))))
    web = server(TlsParams(certificate=certificate), identity=None)

    handshake = shake(client(params, None), web)

    assert handshake.succeeded is passes
    if passes:
        assert handshake.mesh_client.peer_id is None
        assert handshake.mesh_server.peer_certificate is None
    else:
        assert refusal(handshake.client_error) is Refusal.NOT_ALLOWED


def test_a_web_server_of_an_unknown_ca_is_refused() -> None:
    certificate, _ = web_certificate(x509.DNSName("api.example.com"))
    params = TlsParams(certificate=None, validation=Validation(CaTrust(OTHER.bundle)))
    system = TlsParams(certificate=None, validation=Validation(CaTrust(None)))
    web = server(TlsParams(certificate=certificate), identity=None)

    for each in (params, system):
        assert refusal(shake(client(each, None), web).client_error) is Refusal.UNKNOWN_ISSUER


def test_a_svid_verified_by_a_plain_ca_gives_no_spiffe_identity() -> None:
    params = replace(SERVER, validation=Validation(CaTrust(CA.bundle)))

    handshake = shake(client(), server(params))

    assert handshake.succeeded
    assert handshake.mesh_server.peer_id is None
    assert handshake.mesh_server.peer_certificate is not None


@pytest.mark.parametrize("kind", ["certificate", "spki"])
def test_pins_are_honoured(kind: str) -> None:
    leaf = x509.load_der_x509_certificate(PAYMENT.svids[0].certificate.leaf)
    digest = hashes.Hash(hashes.SHA256())
    if kind == "certificate":
        right = Validation(
            SpiffeTrust(), certificate_sha256=frozenset({leaf.fingerprint(hashes.SHA256()).hex()})
        )
        wrong = Validation(SpiffeTrust(), certificate_sha256=frozenset({"ab" * 32}))
    else:
        digest.update(
            leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
        pin = b64encode(digest.finalize()).decode()
        right = Validation(SpiffeTrust(), spki_sha256=frozenset({pin}))
        wrong = Validation(SpiffeTrust(), spki_sha256=frozenset({"A" * 43 + "="}))

    assert shake(client(replace(CLIENT, validation=right)), server()).succeeded
    failed = shake(client(replace(CLIENT, validation=wrong)), server())
    assert refusal(failed.client_error) is Refusal.PIN_MISMATCH


# ---- tls_params


def test_versions_and_suites_are_honoured() -> None:
    suites = ("[ECDHE-ECDSA-CHACHA20-POLY1305|ECDHE-ECDSA-AES128-GCM-SHA256]",)
    old = replace(CLIENT, maximum_version="TLSv1_2", cipher_suites=suites)

    handshake = shake(client(old), server())
    too_old = shake(client(old), server(replace(SERVER, minimum_version="TLSv1_3")))
    other = replace(SERVER, cipher_suites=("ECDHE-ECDSA-AES256-GCM-SHA384",))

    assert handshake.client.version() == "TLSv1.2"
    cipher = handshake.client.cipher()
    assert cipher is not None
    assert cipher[0] in suites[0]
    assert too_old.server_error is not None
    assert shake(client(old), server(other)).server_error is not None


@pytest.mark.parametrize(
    ("ours", "theirs", "passes"),
    [
        (("X25519", "P-256"), ("P-256",), True),
        (("X25519MLKEM768", "X25519"), ("X25519",), True),
        (("P-384", "P-521"), ("P-384",), True),
        (("P-384",), ("P-521",), False),
        (("X25519",), (), True),
    ],
)
def test_curves_are_never_outside_the_list(
    ours: tuple[str, ...], theirs: tuple[str, ...], passes: bool
) -> None:
    handshake = shake(
        client(replace(CLIENT, ecdh_curves=ours)), server(replace(SERVER, ecdh_curves=theirs))
    )

    assert handshake.succeeded is passes


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (replace(CLIENT, cipher_suites=("ECDHE-ECDSA-AES128-GCM-SHA256", "NO-SUCH")), "NO-SUCH"),
        (replace(CLIENT, cipher_suites=("TLS_AES_128_GCM_SHA256",)), "TLS_AES_128_GCM_SHA256"),
        (replace(CLIENT, cipher_suites=("ALL:!aNULL",)), "ALL:!aNULL"),
        (replace(CLIENT, cipher_suites=("AECDH-NULL-SHA",)), "AECDH-NULL-SHA"),
        (replace(CLIENT, ecdh_curves=("P-256", "B-233")), "found B-233"),
        (replace(CLIENT, ecdh_curves=("X25519MLKEM768",)), "has none of X25519MLKEM768"),
        (replace(CLIENT, alpn=("",)), "alpn_protocols: expected names of 1 to 255"),
        (
            replace(CLIENT, minimum_version="TLSv1_3", maximum_version="TLSv1_2"),
            "minimum TLSv1_3 is above maximum TLSv1_2",
        ),
    ],
)
def test_what_openssl_cannot_do_is_refused_by_name(params: TlsParams, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        client(params)

    assert message in str(refused.value)


def test_contexts_are_plain_and_offer_no_ticket_and_no_renegotiation() -> None:
    # anyio runs wrap_bio of a subclass in a thread.
    for context in (client(), server()):
        assert type(context) is ssl.SSLContext
        assert context.options & ssl.OP_NO_TICKET
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert server().num_tickets == 0


@pytest.mark.skipif(sys.platform != "linux", reason="memfd is Linux's")
def test_a_key_reaches_openssl_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")

    assert shake(client(), server()).succeeded


def test_a_key_is_never_shown() -> None:
    key = ORDER.svids[0].certificate.private_key

    shown = f"{ORDER!r} {ORDER.svids[0]!r} {CLIENT!r} {replace(CLIENT, certificate=ORDER.svids[0].certificate)!r}"

    assert "private_key" not in shown
    assert repr(key)[2:20] not in shown


@pytest.mark.parametrize(
    ("host", "sni"),
    [
        ("outbound_.9080_._.reviews.default.svc.cluster.local",) * 2,
        ("a" * 64 + ".test", None),
        ("", None),
    ],
)
def test_a_host_that_python_cannot_encode_gives_no_sni(host: str, sni: str | None) -> None:
    assert usable_sni(host) == sni


# ---- resumption (vectors/tls_resumption.json): never, whatever happened in between


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("event", ["none", "root removed", "new context"])
def test_a_session_is_never_resumed(version: str, event: str) -> None:
    presented = CA.svid("shop/order")
    caller = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    caller.check_hostname, caller.verify_mode = False, ssl.CERT_NONE
    caller.maximum_version = ssl.TLSVersion[version]
    with tempfile.NamedTemporaryFile() as file:
        file.write(private_key_pem(presented) + chain_pem(presented))
        file.flush()
        caller.load_cert_chain(file.name)
    accepting = server()
    first = shake(caller, accepting)
    assert first.succeeded
    if event == "new context":
        accepting = server()
    elif event == "root removed":
        accepting = server(identity=X509Context(PAYMENT.svids, TrustBundles(flat=OTHER.bundle)))

    second = shake(caller, accepting, session=first.client.session)

    if second.server_error is None:
        assert not second.server.session_reused
        assert event != "root removed"
    else:
        # TLS 1.2 by session ID: Python cannot switch it off, so it fails closed.
        expected = Refusal.UNKNOWN_ISSUER if event == "root removed" else Refusal.RESUMED
        assert refusal(second.server_error) is expected


# ---- sockets, loops


def test_a_socket_that_is_read_without_a_handshake_insists_on_it() -> None:
    left, right = socket.socketpair()
    with left, right:
        accepted = server().wrap_socket(right, server_side=True, do_handshake_on_connect=False)
        calling = client(identity=STRANGER).wrap_socket(left, do_handshake_on_connect=False)
        for each in (accepted, calling):
            each.setblocking(False)
        errors: list[ssl.SSLError] = []

        for _ in range(6):
            for step in (lambda: calling.send(b"GET"), lambda: accepted.recv(10)):
                try:
                    assert step() == 3, "bytes reached the application"
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError as error:
                    errors.append(error)

        assert isinstance(accepted, MeshSSLSocket)
        assert refusal(errors[0]) is Refusal.UNKNOWN_ISSUER
        accepted.close()
        calling.close()


def test_sockets_carry_bytes_both_ways_and_know_the_peer() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.settimeout(5)
        right.settimeout(5)
        echoed: list[bytes] = []

        def serve() -> None:
            with server().wrap_socket(right, server_side=True) as accepted:
                accepted.sendall(accepted.recv(10))

        thread = Thread(target=serve)
        thread.start()
        with client().wrap_socket(left) as calling:
            calling.sendall(b"hello")
            echoed.append(calling.recv(10))
            assert isinstance(calling, MeshSSLSocket)
            assert str(calling.peer_id) == PAYMENT_ID
        thread.join()

    assert echoed == [b"hello"]


def test_asyncio_closes_on_a_refusal_without_an_unhandled_error() -> None:
    stranger = X509Context((OTHER.svid("shop/order"),), TrustBundles(flat=OTHER.bundle))
    unhandled: list[object] = []
    served: list[object] = []
    done = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(await reader.read(10))
        writer.close()
        done.set()

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, about: unhandled.append(about))
        async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=server()) as listening:
            port = listening.sockets[0].getsockname()[1]
            with pytest.raises(PeerRefusedError, match="does not verify"):
                await asyncio.open_connection(
                    "127.0.0.1", port, ssl=client(identity=stranger), server_hostname="x"
                )
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client(), server_hostname="x"
            )
            assert writer.get_extra_info("ssl_object").peer_id.path == "/ns/shop/sa/payment"
            writer.write(b"hello")
            await writer.drain()
            await done.wait()
            writer.close()
            await writer.wait_closed()

    asyncio.run(asyncio.wait_for(scenario(), 5))

    assert served == [b"hello"]
    assert unhandled == []


def test_a_rotating_context_gives_each_connection_the_newest() -> None:
    contexts = contexts_of(PAYMENT)
    rotating = RotatingContext(lambda: contexts.server(SERVER), server=True)
    rotating.set_alpn_protocols(["nonsense"])

    before = shake(client(), rotating)
    contexts.adopt(contexts.status.received(CA.context("shop/refund")))
    after = shake(client(), rotating)

    assert str(before.mesh_client.peer_id) == PAYMENT_ID
    assert str(after.mesh_client.peer_id) == "spiffe://cluster.local/ns/shop/sa/refund"
    assert after.client.selected_alpn_protocol() == "http/1.1"
