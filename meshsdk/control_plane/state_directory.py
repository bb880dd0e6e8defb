"""What a control plane must remember: its CA, the roots in force, the key of its tokens.

    root-cert.pem   every root that is trusted, the one that signs first: for workloads to mount
    ca-key.pem      of the one that signs
    next-key.pem    of the one that will, while roots rotate
    token-key.pem   of the tokens that it mints

Keys are 0600. Rotation of the root is three steps: `prepare` (a new root is trusted), `activate`
(it signs), `finish` (the old one is trusted no more). Between them workloads must have learned:
at the latest when their certificates were renewed.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding

from meshsdk.clock import Clock
from meshsdk.control_plane.ca import Signing, signs_for_long
from meshsdk.errors import ConfigError, IdentityError, UsageError
from meshsdk.identity.issue import CertificateAuthority
from meshsdk.identity.token_key import TokenKey

ROOTS: Final = "root-cert.pem"
_KEY: Final = "ca-key.pem"
_NEXT_KEY: Final = "next-key.pem"
_TOKEN_KEY: Final = "token-key.pem"  # noqa: S105 - a file's name


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """A directory of ours. Everything is read anew: another process may have rotated the root."""

    path: Path
    trust_domain: str
    clock: Clock

    def prepare(self) -> None:
        """Make what is missing. OSError where it cannot; UsageError where others may write here."""
        self._make()
        if not (self.path / ROOTS).exists():
            made = CertificateAuthority.self_signed(self.trust_domain, self.clock)
            self._write(_KEY, _private_pem(made))
            self._write(ROOTS, made.certificate.public_bytes(Encoding.PEM), mode=0o644)
        self.token_key()

    def give(self, certificate: bytes, key: bytes) -> None:
        """Sign by a root that the user brings; further certificates of the PEM are trusted too.
        IdentityError where key and certificate are no pair."""
        self._make()
        _signing(self.trust_domain, certificate, key, self.clock)
        self._write(_KEY, key)
        self._write(ROOTS, certificate, mode=0o644)

    def signing(self) -> Signing:
        """Who signs now. IdentityError or OSError where the files do not say."""
        return self.signing_of(*self.signing_files())

    def signing_files(self) -> tuple[bytes, bytes]:
        """Roots and the key of the one that signs, PEM. OSError."""
        return (self.path / ROOTS).read_bytes(), (self.path / _KEY).read_bytes()

    def signing_of(self, roots: bytes, key: bytes) -> Signing:
        """What those files say; IdentityError or ConfigError where they do not fit."""
        return _signing(self.trust_domain, roots, key, self.clock)

    def token_key(self) -> TokenKey:
        """The key of our tokens, made where there is none."""
        self._make()
        path = self.path / _TOKEN_KEY
        if not path.exists():
            self._write(_TOKEN_KEY, TokenKey.generate().to_pem())
        return TokenKey.from_pem(path.read_bytes())

    # -- rotation of the root ---------------------------------------------------------------

    def prepare_root(self) -> None:
        """Trust a new root, beside the one that signs. UsageError while one is prepared."""
        if (self.path / _NEXT_KEY).exists():
            raise UsageError("a new root is prepared already: activate it")
        before = (self.path / ROOTS).read_bytes()
        made = CertificateAuthority.self_signed(self.trust_domain, self.clock)
        self._write(_NEXT_KEY, _private_pem(made))
        self._write(ROOTS, before + made.certificate.public_bytes(Encoding.PEM), mode=0o644)

    def activate_root(self) -> None:
        """Sign by the prepared root; the old one is still trusted. UsageError where none is
        prepared, or it is trusted no more: other roots have been given since."""
        path = self.path / _NEXT_KEY
        if not path.exists():
            raise UsageError("no new root is prepared")
        key = path.read_bytes()
        roots = x509.load_pem_x509_certificates((self.path / ROOTS).read_bytes())
        public = serialization.load_pem_private_key(key, None).public_key()
        newest = next((each for each in roots if each.public_key() == public), None)
        if newest is None:
            path.unlink()
            raise UsageError("the prepared root is trusted no more: prepare a new one")
        others = [each for each in roots if each != newest]
        # In this order: between the two, files that do not fit leave the last good in force.
        self._write(_KEY, key)
        self._write(ROOTS, _pem(newest, *others), mode=0o644)
        path.unlink()

    def finish_root(self) -> None:
        """Trust the root that signs alone. UsageError while another is prepared."""
        if (self.path / _NEXT_KEY).exists():
            raise UsageError("a new root is prepared but does not sign yet: activate it")
        signer, *_ = x509.load_pem_x509_certificates((self.path / ROOTS).read_bytes())
        self._write(ROOTS, _pem(signer), mode=0o644)

    def _make(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = self.path.stat().st_mode & 0o777
        if mode & 0o022:  # who puts keys of his own here is the CA
            expected = "expected a directory that its owner alone may write"
            raise UsageError(f"{self.path}: {expected}, found mode {mode:04o}")

    def _write(self, name: str, contents: bytes, mode: int = 0o600) -> None:
        write_private(self.path / name, contents, mode)


class LastGood:
    """The signing state of a directory, read anew at each call; what was good last where files do
    not fit, as between the two writes of a rotation."""

    def __init__(self, directory: StateDirectory) -> None:
        """Raises what `StateDirectory.signing` does."""
        self._directory = directory
        self._files = directory.signing_files()
        self._signing = directory.signing_of(*self._files)

    def __call__(self) -> Signing:
        try:
            files = self._directory.signing_files()
            if files != self._files:
                self._signing = self._directory.signing_of(*files)
                self._files = files
        except (OSError, IdentityError, ConfigError):
            pass  # half of a rotation has been written
        return self._signing


def write_private(path: Path, contents: bytes, mode: int = 0o600) -> None:
    """Replace a file whole; never readable by others meanwhile."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(contents)
    beside.replace(path)


def _signing(trust_domain: str, roots: bytes, key: bytes, clock: Clock) -> Signing:
    authority = CertificateAuthority.from_pem(trust_domain, roots, key, clock)
    try:
        _, *others = x509.load_pem_x509_certificates(roots)
    except ValueError as error:
        raise ConfigError(ROOTS, f"expected PEM certificates: {error}") from error
    return Signing(signs_for_long(authority), tuple(others))


def _private_pem(authority: CertificateAuthority) -> bytes:
    return authority.key.private_bytes(
        Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
