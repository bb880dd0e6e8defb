"""What the keeper of an identity tells of its source."""

from pathlib import Path

from meshsdk.identity.sources.files import CredentialFiles, FilesSource
from meshsdk.identity.tls_contexts import TlsContexts
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
