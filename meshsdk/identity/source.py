"""What an identity source offers to the thread that drives it."""

from typing import Protocol

from meshsdk.identity.x509_context import IdentityStatus


class PolledSource(Protocol):
    """A source that is asked now and then. Sources that talk to a server are sans-IO machines."""

    @property
    def interval(self) -> float:
        """Seconds between two polls, at most; fewer where `IdentityStatus.expires` is nearer."""
        ...

    def poll(self) -> IdentityStatus:
        """The newest status, EXPIRED included. May read files; never raises on bad material."""
        ...
