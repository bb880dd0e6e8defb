"""An identity that was handed in and does not change."""

from typing import Final

from meshsdk.clock import Clock
from meshsdk.identity.x509_context import NO_IDENTITY, IdentityStatus, X509Context

_INTERVAL: Final = 30.0


class StaticSource:
    """Material given by value; what can change is that it expires."""

    blocks = False

    def __init__(self, context: X509Context, clock: Clock) -> None:
        self.interval = _INTERVAL
        self._status = NO_IDENTITY.received(context)
        self._clock = clock

    def poll(self) -> IdentityStatus:
        """FRESH until the last SVID ends."""
        return self._status.at(self._clock.time())
