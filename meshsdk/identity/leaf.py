"""Reading a leaf certificate: its nouns, and the X509-SVID rules for leaves."""

import hashlib
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from meshsdk.call.certificate import Certificate
from meshsdk.call.spiffe_id import SpiffeId, shown
from meshsdk.errors import SpiffeIdError
from meshsdk.identity.refusal import Fault, Refusal

# OpenSSL's short names, which Envoy prints in subjects; others appear as OID and hex DER.
_SHORT_NAMES: Final = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.STREET_ADDRESS: "street",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.TITLE: "title",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.USER_ID: "UID",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.POSTAL_CODE: "postalCode",
    NameOID.BUSINESS_CATEGORY: "businessCategory",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
    NameOID.JURISDICTION_COUNTRY_NAME: "jurisdictionC",
    NameOID.JURISDICTION_STATE_OR_PROVINCE_NAME: "jurisdictionST",
    NameOID.JURISDICTION_LOCALITY_NAME: "jurisdictionL",
}
_ESCAPED: Final = frozenset(',+"\\<>;')


def read_certificate(leaf: x509.Certificate, der: bytes) -> Certificate:
    """The nouns of one certificate, of which `der` is the encoding.

    Raises ValueError where its SAN is malformed.
    """
    sans = _sans(leaf)
    return Certificate(
        uri_sans=tuple(sans.get_values_for_type(x509.UniformResourceIdentifier)),
        dns_sans=tuple(sans.get_values_for_type(x509.DNSName)),
        ip_sans=tuple(str(ip) for ip in sans.get_values_for_type(x509.IPAddress)),
        email_sans=tuple(sans.get_values_for_type(x509.RFC822Name)),
        subject=rfc2253(leaf.subject),
        sha256=hashlib.sha256(der).hexdigest(),
        der=der,
        not_after=leaf.not_valid_after_utc.timestamp(),
    )


def _sans(leaf: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(str(error)) from error


def rfc2253(name: x509.Name) -> str:
    """A name as OpenSSL's XN_FLAG_RFC2253 prints it, which is what Envoy matches and forwards."""
    return ",".join(
        "+".join(map(_attribute, reversed(list(rdn)))) for rdn in reversed(list(name.rdns))
    )


def _attribute(attribute: "x509.NameAttribute[str | bytes]") -> str:
    short = _SHORT_NAMES.get(attribute.oid)
    if short is None:
        return f"{attribute.oid.dotted_string}=#{_value_der(attribute).hex().upper()}"
    return f"{short}={_escape(attribute.value)}"


def _value_der(attribute: "x509.NameAttribute[str | bytes]") -> bytes:
    """The value as it stands in SEQUENCE { SET { SEQUENCE { OID, value } } }."""
    der = x509.Name([attribute]).public_bytes()
    at = 0
    for _ in range(3):
        at += 2 + (der[at + 1] & 0x7F if der[at + 1] & 0x80 else 0)
    return der[at + 2 + der[at + 1] :]


def _escape(value: str | bytes) -> str:
    if isinstance(value, bytes):
        return "#" + value.hex().upper()
    escaped: list[str] = []
    for at, character in enumerate(value):
        if not " " <= character <= "~":
            # ASN1_STRFLGS_ESC_CTRL and _ESC_MSB, after conversion to UTF-8.
            escaped.extend(f"\\{octet:02X}" for octet in character.encode())
            continue
        at_an_end = character == " " and at in (0, len(value) - 1)
        if character in _ESCAPED or at_an_end or (character == "#" and at == 0):
            escaped.append("\\")
        escaped.append(character)
    return "".join(escaped)


def svid_id(leaf: x509.Certificate, certificate: Certificate) -> SpiffeId | Fault:
    """The SPIFFE ID of a leaf that obeys X509-SVID sections 2, 4 and 5.2, or the rule it breaks."""
    return _leaf_fault(leaf) or _id_of(certificate)


def _id_of(certificate: Certificate) -> SpiffeId | Fault:
    if len(certificate.uri_sans) != 1:
        return Fault(
            Refusal.URI_SAN_COUNT,
            "an X509-SVID has exactly one URI SAN",
            expected="1",
            found=f"{len(certificate.uri_sans)} ({', '.join(map(shown, certificate.uri_sans))})"
            if certificate.uri_sans
            else "none",
        )
    uri = certificate.uri_sans[0]
    try:
        spiffe_id = SpiffeId.parse(uri)
    except SpiffeIdError as error:
        return Fault(
            Refusal.NOT_A_SPIFFE_ID,
            f"the URI SAN is no SPIFFE ID: {error}",
        )
    if not spiffe_id.path:
        return Fault(
            Refusal.NO_PATH,
            "a leaf's SPIFFE ID has a path",
            expected="spiffe://<trust domain>/<path>",
            found=shown(uri),
        )
    return spiffe_id


def _leaf_fault(leaf: x509.Certificate) -> Fault | None:
    extensions = leaf.extensions
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return Fault(Refusal.CA_LEAF, "a leaf is no CA", expected="CA:FALSE", found="CA:TRUE")
    except x509.ExtensionNotFound:
        pass  # X509-SVID 4.1 wants it false, which is what absence means (RFC 5280, 4.2.1.9).
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return _key_usage_fault("no key usage extension")
    if usage.key_cert_sign:
        return _key_usage_fault("keyCertSign")
    if usage.crl_sign:
        return _key_usage_fault("cRLSign")
    if not usage.digital_signature:
        return _key_usage_fault("no digitalSignature")
    return None


def _key_usage_fault(found: str) -> Fault:
    return Fault(
        Refusal.KEY_USAGE,
        "a leaf's key usage is wrong",  # X509-SVID 4.3
        expected="digitalSignature, neither keyCertSign nor cRLSign",
        found=found,
    )
