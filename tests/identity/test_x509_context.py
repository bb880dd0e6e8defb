from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshsdk.clock import SystemClock
from meshsdk.errors import IdentityError
from meshsdk.identity import (
    IdentityStatus,
    Refusal,
    SourceState,
    Svid,
    TlsCertificate,
    TrustBundle,
    TrustBundles,
    X509Context,
)
from meshsdk.identity.leaf import rfc2253
from meshsdk.identity.revocation import RevocationLists
from meshsdk.identity.x509_context import NO_IDENTITY
from meshsdk.testing.ca import FakeCa, chain_pem, private_key_pem

CA, OTHER = FakeCa("td.test"), FakeCa("other.test")
BUNDLES = TrustBundles(flat=CA.bundle)


def test_equal_material_is_an_equal_value_in_whatever_order_it_came() -> None:
    svids = CA.svid("shop/a", hint="x"), CA.svid("shop/b"), CA.svid("shop/b", hint="y")
    pairs = [("td.test", CA.bundle), ("other.test", OTHER.bundle)]

    contexts = {
        X509Context(some, TrustBundles(tuple(order)))
        for some in permutations(svids)
        for order in permutations(pairs)
    }

    assert len(contexts) == 1


def test_another_key_bundle_or_hint_is_another_value() -> None:
    svid = CA.svid("shop/a")
    context = X509Context((svid,), BUNDLES)

    assert context != X509Context((CA.svid("shop/a"),), BUNDLES)
    assert context != X509Context((svid,), TrustBundles(flat=OTHER.bundle))
    assert context != X509Context((svid,), TrustBundles.by_name({"td.test": CA.bundle}))
    assert context.digest != X509Context((svid,), TrustBundles(flat=OTHER.bundle)).digest


def test_an_svid_is_chosen_by_hint_or_id_and_an_ambiguous_choice_is_loud() -> None:
    one, two = CA.svid("shop/a", hint="internal"), CA.svid("shop/b", hint="internal")
    context = X509Context((one, two), BUNDLES)

    assert context.svid(spiffe_id=two.spiffe_id) is two
    assert context.svid(hint="internal", spiffe_id=one.spiffe_id) is one
    with pytest.raises(IdentityError, match="expected one SVID of hint 'internal', found 2"):
        context.svid(hint="internal")
    with pytest.raises(IdentityError, match=r"SVID of hint 'none', found spiffe://td.test/ns/shop"):
        context.svid(hint="none")
    with pytest.raises(IdentityError, match="expected an SVID, found none"):
        X509Context((), BUNDLES).svid()


def test_a_key_of_another_certificate_is_refused() -> None:
    one, two = CA.svid("shop/a"), CA.svid("shop/a")

    with pytest.raises(IdentityError, match="expected the key of the leaf"):
        Svid.from_pem(chain_pem(one), private_key_pem(two))


@pytest.mark.parametrize(
    ("chain", "key", "message"),
    [
        (b"", b"", "expected PEM certificates"),
        (chain_pem(CA.svid("shop/a")), b"nonsense", "expected an unencrypted PEM"),
        (CA.root_pem, b"", "expected an unencrypted PEM"),
    ],
)
def test_unreadable_credentials_are_refused(chain: bytes, key: bytes, message: str) -> None:
    with pytest.raises(IdentityError, match=message):
        Svid.from_pem(chain, key)


def test_a_certificate_that_is_no_svid_is_refused_as_ours_too() -> None:
    key = CA.authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    with pytest.raises(IdentityError, match="no X509-SVID: a leaf is no CA: expected CA:FALSE"):
        Svid.of(TlsCertificate.from_pem(CA.root_pem, key))


def test_the_workload_apis_concatenated_der_is_read_and_roots_in_a_chain_are_not_sent() -> None:
    below = CA.authority.intermediate()
    svid = below.mint(CA.spiffe_id("shop/a"))

    again = Svid.from_der(
        b"".join((*svid.certificate.chain, *CA.bundle.roots)), svid.certificate.private_key
    )

    assert again == svid
    assert len(svid.certificate.chain) == 2
    with pytest.raises(IdentityError, match="truncated"):
        Svid.from_der(svid.certificate.chain[0][:-1], svid.certificate.private_key)


def test_a_bundle_has_no_duplicates_and_may_be_empty_only_in_der() -> None:
    root = CA.bundle.roots[0]

    assert TrustBundle.from_der(root + root) == CA.bundle
    assert TrustBundle.from_pem(CA.root_pem * 2) == CA.bundle
    assert TrustBundle.from_der(b"").roots == ()
    with pytest.raises(IdentityError, match="expected PEM certificates"):
        TrustBundle.from_pem(b"")


def test_bundles_are_flat_or_by_trust_domain() -> None:
    by_name = TrustBundles.by_name({"td.test": CA.bundle})

    assert BUNDLES.for_trust_domains(["td.test", "alias.test"]) == {
        "td.test": CA.bundle,
        "alias.test": CA.bundle,
    }
    assert by_name.for_trust_domains(["alias.test"]) == {"td.test": CA.bundle}
    with pytest.raises(IdentityError, match="or a flat one"):
        TrustBundles((("td.test", CA.bundle),), CA.bundle)
    with pytest.raises(IdentityError, match=r"expected a trust domain, found 'spiffe://td.test'"):
        TrustBundles.by_name({"spiffe://td.test": CA.bundle})


# ---- status


def test_a_status_tells_a_repetition_by_identity() -> None:
    svid = CA.svid("shop/a")
    first = NO_IDENTITY.received(X509Context((svid,), BUNDLES))

    again = first.failed(SourceState.UNREACHABLE, "gone").received(X509Context((svid,), BUNDLES))

    assert again.context is first.context
    assert again.state is SourceState.FRESH


@pytest.mark.parametrize("state", [SourceState.UNREACHABLE, SourceState.WITHDRAWN])
def test_material_is_used_until_it_expires_whatever_the_source_says(state: SourceState) -> None:
    context = CA.context("shop/a", ttl=600.0)
    ends = context.svids[0].not_after
    status = NO_IDENTITY.received(context).failed(state, "agent gone")

    assert status.usable() is context
    assert status.expires == ends
    assert status.at(ends - 1).state is state
    expired = status.at(ends + 5)
    assert expired.state is SourceState.EXPIRED
    assert expired.detail == f"the last SVID ended 5 s ago ({state}: agent gone)"


def test_before_the_first_material_nothing_is_usable() -> None:
    with pytest.raises(IdentityError, match=r"no identity yet \(withdrawn\): no entry"):
        IdentityStatus(state=SourceState.WITHDRAWN, detail="no entry").usable()
    assert NO_IDENTITY.expires is None


# ---- subjects (OpenSSL 3.0: `openssl x509 -subject -nameopt RFC2253`)


@pytest.mark.parametrize(
    ("rfc4514", "expected"),
    [
        ("", ""),
        ("CN=b,O=SPIRE,C=US", "CN=b,O=SPIRE,C=US"),
        ("CN=a\\,b\\+c\\;d,O=\\#x", "CN=a\\,b\\+c\\;d,O=\\#x"),
        ("CN=\\ lead and trail\\ ", "CN=\\ lead and trail\\ "),
        ("CN=Z\u00fcrich", "CN=Z\\C3\\BCrich"),
        ("CN=\u65e5\u672c", "CN=\\E6\\97\\A5\\E6\\9C\\AC"),
        ("1.2.840.113549.1.9.1=a@b.test", "emailAddress=a@b.test"),
        ("CN=c+UID=u,DC=test", "UID=u+CN=c,DC=test"),
        ("1.2.3.4=ab", "1.2.3.4=#0C026162"),
    ],
)
def test_a_subject_is_printed_as_openssl_does(rfc4514: str, expected: str) -> None:
    assert rfc2253(x509.Name.from_rfc4514_string(rfc4514)) == expected


# ---- revocation lists


def crl(*serials: int, by: FakeCa = CA, starts: float = -60, ends: float = 3600) -> bytes:
    now = datetime.fromtimestamp(SystemClock().time(), UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(by.authority.certificate.subject)
        .last_update(now + timedelta(seconds=starts))
        .next_update(now + timedelta(seconds=ends))
    )
    for serial in serials:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        )
    return builder.sign(by.authority.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def judge(svid: Svid, lists: bytes) -> Refusal | None:
    revocation = RevocationLists.of(TrustBundle.from_pem(CA.root_pem, lists))
    assert revocation is not None
    fault = revocation.fault((svid.certificate.leaf, CA.bundle.roots[0]), SystemClock().time())
    return fault.refusal if fault else None


def test_a_listed_serial_is_refused() -> None:
    svid = CA.svid("shop/a")
    serial = x509.load_der_x509_certificate(svid.certificate.leaf).serial_number

    assert judge(svid, crl(serial)) is Refusal.REVOKED
    assert judge(CA.svid("shop/a"), crl(serial)) is None


@pytest.mark.parametrize(
    ("lists", "refusal"),
    [
        (crl(1, 2, 3), None),
        (crl(by=OTHER), Refusal.NO_REVOCATION_LIST),
        (crl(starts=-7200, ends=-3600), Refusal.NO_REVOCATION_LIST),
        (crl(starts=3600, ends=7200), Refusal.NO_REVOCATION_LIST),
        (crl(by=OTHER) + crl(5), None),
    ],
)
def test_every_issuer_needs_a_list_in_force(lists: bytes, refusal: Refusal | None) -> None:
    assert judge(CA.svid("shop/a"), lists) is refusal


def test_a_bundle_without_lists_checks_no_revocation() -> None:
    assert RevocationLists.of(CA.bundle) is None
    with pytest.raises(IdentityError, match="expected PEM blocks 'X509 CRL'"):
        TrustBundle.from_pem(CA.root_pem, b"nonsense")
