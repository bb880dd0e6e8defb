"""Why a peer's certificate was refused."""

import ssl
from dataclasses import dataclass
from enum import StrEnum

from meshsdk.errors import PeerError


class Refusal(StrEnum):
    """The rule that a peer broke; stable, for tests, logs and metrics."""

    NO_CERTIFICATE = "no_certificate"
    UNREADABLE = "unreadable_certificate"
    EXPIRED = "certificate_expired"
    NOT_YET_VALID = "certificate_not_yet_valid"
    UNKNOWN_ISSUER = "unknown_issuer"
    BAD_SIGNATURE = "bad_signature"
    INVALID_CHAIN = "invalid_chain"
    WRONG_PURPOSE = "wrong_purpose"
    REVOKED = "certificate_revoked"
    NO_REVOCATION_LIST = "no_valid_revocation_list"
    RESUMED = "resumed_session"
    URI_SAN_COUNT = "uri_san_count"
    NOT_A_SPIFFE_ID = "not_a_spiffe_id"
    NO_PATH = "spiffe_id_without_path"
    CA_LEAF = "ca_leaf"
    KEY_USAGE = "key_usage"
    UNKNOWN_TRUST_DOMAIN = "unknown_trust_domain"
    FOREIGN_ROOT = "foreign_root"
    PIN_MISMATCH = "pin_mismatch"
    NOT_ALLOWED = "not_allowed"


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken rule: what was expected, and what the certificate has instead."""

    refusal: Refusal
    problem: str
    expected: str = ""
    found: str = ""


class PeerRefusedError(PeerError, ssl.SSLCertVerificationError):
    """A handshake that ended because of who the peer is, before any application byte.

    Also an `ssl.SSLError`: asyncio, uvloop and servers close a connection quietly on nothing else.
    """

    refusal: Refusal

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.problem, expected=fault.expected, found=fault.found)
        self.refusal = fault.refusal

    def __str__(self) -> str:
        return str(self.args[0])
