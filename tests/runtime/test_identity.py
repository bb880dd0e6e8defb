"""What the keeper of an identity tells of its source."""

import threading
from pathlib import Path

from meshsdk.identity.sources.files import CredentialFiles, FilesSource
from meshsdk.identity.tls_contexts import TlsContexts
from meshsdk.identity.x509_context import NO_IDENTITY, IdentityStatus
from meshsdk.runtime.identity import IdentityKeeper
from meshsdk.telemetry import Event, IdentityChanged
from meshsdk.testing.clock import FakeClock


def test_a_source_that_never_had_an_identity_says_so_once(tmp_path: Path) -> None:
    clock = FakeClock()
    told: list[Event] = []
    files = CredentialFiles(tmp_path / "cert", tmp_path / "key", tmp_path / "roots")
    source = FilesSource(files, clock)
    keeper = IdentityKeeper(source, TlsContexts(clock), clock, told.append)

    keeper.refresh()
    keeper.refresh()

    [event] = told
    assert isinstance(event, IdentityChanged)
    assert event.state == "unreachable"
    assert str(tmp_path) in event.reason


class Defective:
    """Raises, once."""

    blocks = True
    interval = 0.0

    def __init__(self) -> None:
        self.polls = 0
        self.asked_again = threading.Event()

    def poll(self) -> IdentityStatus:
        self.polls += 1
        if self.polls == 1:
            raise RuntimeError("a defect")
        self.asked_again.set()
        return NO_IDENTITY


def test_a_defect_does_not_end_the_keeping() -> None:
    """Else the certificate ends, and nobody asks for another."""
    clock, source = FakeClock(), Defective()
    keeper = IdentityKeeper(source, TlsContexts(clock), clock, lambda _: None)

    keeper.start()
    is_asked = source.asked_again.wait(10.0)
    keeper.close()

    assert is_asked
