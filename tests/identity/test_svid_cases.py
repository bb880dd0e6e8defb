"""Every case of the X509-SVID vectors, minted anew from its id, in real handshakes both ways.

The vectors' own certificates have expired; their ids say how each was made, and the table below
says what our refusal is. A refused case stands beside its valid twin: they differ in one thing.
"""

import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshsdk.clock import SystemClock
from meshsdk.identity import (
    PeerRefusedError,
    Refusal,
    Svid,
    TrustBundle,
    TrustBundles,
    X509Context,
)
from meshsdk.identity.tls import build_snapshot
from meshsdk.identity.tls_params import SpiffeTrust, TlsParams, Validation
from meshsdk.testing._handshake import Handshake, shake
from tests.minting import (
    BOTH,
    CA,
    CA_CONSTRAINTS,
    CLIENT,
    LEAF_CONSTRAINTS,
    Made,
    Template,
    make,
    peer_context,
    private_key,
    rsa_key,
    uri,
    usage,
)

ROOT_A = make(replace(CA, subject="rootA"))
ROOT_B = make(replace(CA, subject="rootB", sans=uri("spiffe://other.test")))
EVIL = make(replace(CA, subject="evilroot"))
SAME_NAME = make(replace(CA, subject="rootA"))
INTER = make(
    replace(CA, subject="interA", constraints=x509.BasicConstraints(ca=True, path_length=0)), ROOT_A
)


def leaf(issuer: Made = ROOT_A, **changes: object) -> Callable[[], Made]:
    return lambda: make(replace(Template(), **changes), issuer)  # type: ignore[arg-type]


def below(*, of: Made = ROOT_A, **changes: object) -> Callable[[], Made]:
    """A good leaf under an intermediate that is changed."""

    def made() -> Made:
        inter = make(replace(CA, subject="inter", **changes), of)  # type: ignore[arg-type]
        return make(Template(), inter)

    return made


def sending(made: Callable[[], Made], *extra: Made) -> Callable[[], Made]:
    """The same with other certificates sent after it."""

    def changed() -> Made:
        one = made()
        return replace(one, chain=(*one.chain, *(each.certificate for each in extra)))

    return changed


def without_intermediate() -> Made:
    return replace(make(Template(), INTER), chain=())


def bad_signature() -> Made:
    good = make(Template(), ROOT_A)
    der = bytearray(good.der)
    der[-1] ^= 1
    return replace(good, certificate=x509.load_der_x509_certificate(bytes(der)))


def self_signed() -> Made:
    return make(replace(Template(), usage=None, purposes=(), constraints=None))


def signed_by_a_leaf() -> Made:
    workload = make(Template(), ROOT_A)
    return make(replace(Template(), sans=uri("spiffe://td.test/ns/foo/sa/admin")), workload)


def under_path_length_zero() -> Made:
    return make(Template(), make(replace(CA, subject="inter2"), INTER))


def twelve_deep() -> Made:
    issuer = ROOT_A
    for depth in range(12):
        issuer = make(replace(CA, subject=f"deep{depth}"), issuer)
    return make(Template(), issuer)


def constrained(
    permitted: str | None = None, excluded: str | None = None
) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    def subtree(name: str | None) -> list[x509.GeneralName] | None:
        return [x509.UniformResourceIdentifier(name)] if name else None

    return ((x509.NameConstraints(subtree(permitted), subtree(excluded)), True),)


UNKNOWN_EXTENSION = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
ANY_PURPOSE = x509.ObjectIdentifier("2.5.29.37.0")
GOOD, FEDERATED = leaf(), leaf(ROOT_B, sans=uri("spiffe://other.test/x"))
GOOD_CHAIN = leaf(INTER)

ACCEPTED: dict[str, Callable[[], Made]] = {
    "good/ec": GOOD,
    "good/rsa2048": leaf(key=rsa_key),
    "good/intermediate": GOOD_CHAIN,
    "good/intermediate_no_uri": below(sans=()),
    "good/uri_and_dns": leaf(sans=(*uri(CLIENT), x509.DNSName("a.test"), x509.DNSName("b.test"))),
    "good/other_td": FEDERATED,
    "good/root_sent_in_chain": sending(GOOD, ROOT_A),
    "good/no_eku": leaf(purposes=()),
    "good/empty_subject": leaf(subject=""),
    "good/2048_byte_id": leaf(sans=uri("spiffe://td.test/".ljust(2048, "a"))),
    "good/intermediate_extra_unrelated": sending(GOOD_CHAIN, make(CA, ROOT_A)),
    "leaf/no_basic_constraints": leaf(constraints=None),
    "leaf/ku_extra_ke_ka": leaf(
        usage=usage("digital_signature", "key_encipherment", "key_agreement")
    ),
    "san/email_ip_extra": leaf(
        sans=(
            *uri(CLIENT),
            x509.RFC822Name("a@b.test"),
            x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
        )
    ),
    "key/p384": leaf(key=lambda: ec.generate_private_key(ec.SECP384R1())),
    "ext/unknown_noncritical": leaf(extensions=((UNKNOWN_EXTENSION, False),)),
}

# Open in the standard, or nearly so: what OpenSSL says, and no crash.
EITHER: dict[str, Callable[[], Made]] = {
    "eku/server_only": leaf(purposes=BOTH[:1]),
    "eku/client_only": leaf(purposes=BOTH[1:]),
    "eku/code": leaf(purposes=(ExtendedKeyUsageOID.CODE_SIGNING,)),
    "eku/any": leaf(purposes=(ANY_PURPOSE,)),
    "chain/no_key_cert_sign": below(usage=None),
    "chain/name_constraint_ok": below(extensions=constrained(permitted="td.test")),
    "chain/intermediate_uri_with_path": below(sans=uri("spiffe://td.test/ns/foo/sa/x")),
    "chain/depth_12": twelve_deep,
    "key/ed25519": leaf(key=ed25519.Ed25519PrivateKey.generate),
    "key/p521": leaf(key=lambda: ec.generate_private_key(ec.SECP521R1())),
}


def of_id(value: str) -> Callable[[], Made]:
    return leaf(sans=uri(value))


R = Refusal
REFUSED: dict[str, tuple[Callable[[], Made] | None, Refusal, Callable[[], Made]]] = {
    "none": (None, R.NO_CERTIFICATE, GOOD),
    "time/expired": (leaf(starts=-7200, ends=-3600), R.EXPIRED, GOOD),
    "time/expired_1s": (leaf(starts=-7200, ends=-1), R.EXPIRED, GOOD),
    "time/not_yet": (leaf(starts=3600, ends=7200), R.NOT_YET_VALID, GOOD),
    "time/intermediate_expired": (below(starts=-7200, ends=-3600), R.EXPIRED, GOOD_CHAIN),
    "trust/unknown_ca": (leaf(EVIL), R.UNKNOWN_ISSUER, GOOD),
    "trust/same_name_other_key": (leaf(SAME_NAME), R.UNKNOWN_ISSUER, GOOD),
    "trust/self_signed": (self_signed, R.UNKNOWN_ISSUER, GOOD),
    "trust/missing_intermediate": (without_intermediate, R.UNKNOWN_ISSUER, GOOD_CHAIN),
    "trust/bad_signature": (bad_signature, R.BAD_SIGNATURE, GOOD),
    "trust/attacker_root_in_chain": (sending(leaf(EVIL), EVIL), R.UNKNOWN_ISSUER, GOOD),
    "td/rootB_mints_td.test": (leaf(ROOT_B), R.FOREIGN_ROOT, FEDERATED),
    "td/rootA_mints_other.test": (of_id("spiffe://other.test/x"), R.FOREIGN_ROOT, FEDERATED),
    "td/unknown_td": (of_id("spiffe://third.test/x"), R.UNKNOWN_TRUST_DOMAIN, GOOD),
    "td/subdomain": (of_id("spiffe://sub.td.test/x"), R.UNKNOWN_TRUST_DOMAIN, GOOD),
    "td/prefix": (of_id("spiffe://td.test.evil/x"), R.UNKNOWN_TRUST_DOMAIN, GOOD),
    "td/upper": (of_id("spiffe://TD.TEST/ns/foo/sa/client"), R.NOT_A_SPIFFE_ID, GOOD),
    "td/crossB_via_A": (
        leaf(
            make(replace(CA, subject="crossB", sans=uri("spiffe://other.test")), ROOT_A),
            sans=uri("spiffe://other.test/x"),
        ),
        R.FOREIGN_ROOT,
        FEDERATED,
    ),
    "leaf/ca_true": (leaf(constraints=CA_CONSTRAINTS), R.CA_LEAF, GOOD),
    "leaf/key_cert_sign": (
        leaf(usage=usage("digital_signature", "key_cert_sign")),
        R.KEY_USAGE,
        GOOD,
    ),
    "leaf/crl_sign": (leaf(usage=usage("digital_signature", "crl_sign")), R.KEY_USAGE, GOOD),
    "leaf/ca_true_and_cert_sign": (
        leaf(constraints=CA_CONSTRAINTS, usage=usage("digital_signature", "key_cert_sign")),
        R.CA_LEAF,
        GOOD,
    ),
    "leaf/no_digital_signature": (leaf(usage=usage("key_encipherment")), R.WRONG_PURPOSE, GOOD),
    "leaf/no_key_usage": (leaf(usage=None), R.KEY_USAGE, GOOD),
    "san/none": (leaf(sans=()), R.URI_SAN_COUNT, GOOD),
    "san/dns_only": (leaf(sans=(x509.DNSName("td.test"),)), R.URI_SAN_COUNT, GOOD),
    "san/dns_looks_like_spiffe": (leaf(sans=(x509.DNSName(CLIENT),)), R.URI_SAN_COUNT, GOOD),
    "san/cn_looks_like_spiffe": (leaf(sans=(), common_name=CLIENT), R.URI_SAN_COUNT, GOOD),
    "san/two_uris": (
        leaf(sans=uri(CLIENT, "spiffe://td.test/ns/foo/sa/admin")),
        R.URI_SAN_COUNT,
        GOOD,
    ),
    "san/two_uris_same": (leaf(sans=uri(CLIENT, CLIENT)), R.URI_SAN_COUNT, GOOD),
    "san/uri_and_https_uri": (leaf(sans=uri(CLIENT, "https://x.test/")), R.URI_SAN_COUNT, GOOD),
    "san/https_first": (leaf(sans=uri("https://x.test/", CLIENT)), R.URI_SAN_COUNT, GOOD),
    "san/https_only": (of_id("https://td.test/ns/foo/sa/client"), R.NOT_A_SPIFFE_ID, GOOD),
    "san/two_tds": (leaf(sans=uri(CLIENT, "spiffe://other.test/x")), R.URI_SAN_COUNT, GOOD),
    "id/no_path": (of_id("spiffe://td.test"), R.NO_PATH, GOOD),
    "chain/not_ca": (below(constraints=LEAF_CONSTRAINTS), R.INVALID_CHAIN, GOOD_CHAIN),
    "chain/no_basic_constraints": (below(constraints=None), R.INVALID_CHAIN, GOOD_CHAIN),
    "chain/pathlen": (under_path_length_zero, R.INVALID_CHAIN, GOOD_CHAIN),
    "chain/leaf_signs_leaf": (signed_by_a_leaf, R.INVALID_CHAIN, GOOD_CHAIN),
    "chain/name_constraint_violated": (
        below(extensions=constrained(permitted="other.test")),
        R.INVALID_CHAIN,
        GOOD_CHAIN,
    ),
    "chain/name_constraint_excluded": (
        below(extensions=constrained(excluded="td.test")),
        R.INVALID_CHAIN,
        GOOD_CHAIN,
    ),
    "ext/unknown_critical": (leaf(extensions=((UNKNOWN_EXTENSION, True),)), R.INVALID_CHAIN, GOOD),
    **{
        f"id/{name}": (of_id(value), R.NOT_A_SPIFFE_ID, GOOD)
        for name, value in {
            "slash": "spiffe://td.test/",
            "trailing_slash": f"{CLIENT}/",
            "double_slash": "spiffe://td.test//x",
            "dot": "spiffe://td.test/./x",
            "dotdot": "spiffe://td.test/a/../admin",
            "query": f"{CLIENT}?x",
            "fragment": f"{CLIENT}#x",
            "port": "spiffe://td.test:80/x",
            "userinfo": "spiffe://a@td.test/x",
            "userinfo2": "spiffe://td.test@evil.test/x",
            "percent": "spiffe://td.test/%61",
            "upper_scheme": "SPIFFE://td.test/x",
            "space": "spiffe://td.test/a b",
            "newline": f"{CLIENT}\n",
            "nul": f"{CLIENT}\0.evil",
            "nul_td": "spiffe://td.test\0.evil/x",
            "backslash": "spiffe://td.test\\x",
            "empty_td": "spiffe:///x",
            "star": "spiffe://td.test/*",
            "colon": "spiffe://td.test/a:b",
            "ipv6": "spiffe://[::1]/x",
            "tab": "spiffe://td.test/\tx",
            "comma": f"{CLIENT},spiffe://td.test/y",
            "semicolon": "spiffe://td.test/a;b",
        }.items()
    },
}


# A server may do without digitalSignature for OpenSSL (RSA key exchange): then it is our refusal.
AS_SERVER = {"leaf/no_digital_signature": Refusal.KEY_USAGE}


def our_context(*, server: bool) -> ssl.SSLContext:
    """Ours: an SVID of td.test, bundles of td.test and other.test."""
    own = make(replace(Template(), sans=uri("spiffe://td.test/ns/foo/sa/us")), ROOT_A)
    identity = X509Context(
        (Svid.from_der(own.der, private_key(own, Encoding.DER)),),
        TrustBundles.by_name(
            {"td.test": TrustBundle((ROOT_A.der,)), "other.test": TrustBundle((ROOT_B.der,))}
        ),
    )
    params = TlsParams(validation=Validation(SpiffeTrust()), require_client_certificate=True)
    return build_snapshot(params, identity, SystemClock().time, server=server).context


OUR_SERVER, OUR_CLIENT = our_context(server=True), our_context(server=False)


def as_client(made: Made | None) -> Handshake:
    return shake(peer_context(made, server=False), OUR_SERVER)


def as_server(made: Made | None) -> Handshake:
    return shake(OUR_CLIENT, peer_context(made, server=True))


def reads_nothing(end: ssl.SSLObject) -> bool:
    try:
        return end.read(100) == b""
    except ssl.SSLError:
        return True


def test_the_tables_hold_every_case_of_the_vectors() -> None:
    assert len(ACCEPTED) + len(EITHER) + len(REFUSED) == 92


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_valid_svid_is_accepted_on_both_sides(case: str) -> None:
    made = ACCEPTED[case]()

    from_client, from_server = as_client(made), as_server(made)

    assert (from_client.client_error, from_client.server_error) == (None, None)
    assert (from_server.client_error, from_server.server_error) == (None, None)
    for peer_id in (from_client.mesh_server.peer_id, from_server.mesh_client.peer_id):
        assert str(peer_id).startswith(("spiffe://td.test/", "spiffe://other.test/x"))


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_client_is_refused_by_its_reason_and_its_valid_twin_is_not(case: str) -> None:
    made, refusal, twin = REFUSED[case]

    refused, passed = as_client(made() if made else None), as_client(twin())

    assert isinstance(refused.server_error, PeerRefusedError)
    assert refused.server_error.refusal is refusal, str(refused.server_error)
    assert passed.succeeded


@pytest.mark.parametrize("case", [case for case in REFUSED if case != "none"])
def test_a_bad_server_is_refused_by_its_reason_and_its_valid_twin_is_not(case: str) -> None:
    made, refusal, twin = REFUSED[case]
    assert made is not None

    refused, passed = as_server(made()), as_server(twin())

    assert isinstance(refused.client_error, PeerRefusedError)
    assert refused.client_error.refusal is AS_SERVER.get(case, refusal), str(refused.client_error)
    assert passed.succeeded


@pytest.mark.parametrize("case", EITHER)
def test_what_the_standard_leaves_open_never_crashes(case: str) -> None:
    made = EITHER[case]()

    for error in (as_client(made).server_error, as_server(made).client_error):
        assert error is None or isinstance(error, PeerRefusedError)


@pytest.mark.parametrize("case", REFUSED)
def test_no_application_byte_reaches_us_from_a_refused_client(case: str) -> None:
    made, refusal, _ = REFUSED[case]
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = peer_context(made() if made else None, server=False).wrap_bio(to_client, to_server)
    server = OUR_SERVER.wrap_bio(to_server, to_client, server_side=True)

    # Never do_handshake() on our side: gunicorn does not call it either.
    errors: list[ssl.SSLError] = []
    for _ in range(4):
        try:
            client.do_handshake()
            client.write(b"GET / HTTP/1.1\r\n\r\n")
        except ssl.SSLError:
            pass
        try:
            assert server.read(100) is None, "read before the peer was refused"
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            errors.append(error)

    assert errors
    assert isinstance(errors[0], PeerRefusedError)
    assert errors[0].refusal is refusal


def test_nothing_is_sent_to_a_refused_server() -> None:
    made, _, _ = REFUSED["td/rootB_mints_td.test"]
    assert made is not None
    handshake = as_server(made())

    with pytest.raises(PeerRefusedError):
        handshake.client.write(b"secret")
    with pytest.raises(PeerRefusedError):
        handshake.client.read(100)

    assert reads_nothing(handshake.server)


@pytest.mark.parametrize(
    ("case", "expected", "found"),
    [
        ("td/rootB_mints_td.test", "1 roots of td.test", "a root of other.test"),
        ("td/unknown_td", "['other.test', 'td.test']", "'spiffe://third.test/x'"),
        ("san/two_uris", "1", f"2 ('{CLIENT}', 'spiffe://td.test/ns/foo/sa/admin')"),
        ("leaf/crl_sign", "neither keyCertSign nor cRLSign", "cRLSign"),
        ("time/expired", "a chain to a root of other.test, td.test", "certificate has expired"),
        ("trust/unknown_ca", "a chain to a root of other.test, td.test", "local issuer"),
        ("none", "a certificate of any identity", "none"),
    ],
)
def test_a_refusal_names_what_was_expected_and_found(case: str, expected: str, found: str) -> None:
    made, _, _ = REFUSED[case]

    error = as_client(made() if made else None).server_error

    assert isinstance(error, PeerRefusedError)
    assert expected in error.expected
    assert found in error.found
    assert error.expected in str(error)
    assert error.found in str(error)


def test_a_client_also_names_the_server_whose_chain_does_not_verify() -> None:
    made, _, _ = REFUSED["trust/unknown_ca"]
    assert made is not None

    error = as_server(made()).client_error

    assert isinstance(error, PeerRefusedError)
    assert f"'{CLIENT}', subject 'O=leaf', valid 20" in error.found
