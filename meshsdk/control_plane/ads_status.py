"""What clients were sent, and what they said to it."""

from collections.abc import Mapping
from dataclasses import dataclass

from meshsdk.control_plane.ads_session import Watch
from meshsdk.xds.messages import Variant


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """What a client was sent of one type, and said to it."""

    subscribed: frozenset[str]
    """With `*` for the wildcard."""
    version_sent: str
    version_acked: str
    nack: str | None
    """What it said against the last response that it answered; None for an ACK."""
    is_settled: bool
    """It has answered the last response; also when there was none."""


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """A connected client. One that opens two streams is there twice."""

    node_id: str
    node: Mapping[str, object]
    """`config.core.v3.Node` in proto-JSON."""
    variant: Variant
    types: Mapping[str, TypeStatus]
    """By type URL, for the types that it has asked for."""

    @property
    def is_settled(self) -> bool:
        """Every response has been answered."""
        return all(status.is_settled for status in self.types.values())


def status_of(watch: Watch) -> TypeStatus:
    """Of one type on one stream."""
    return TypeStatus(
        frozenset(watch.names | ({"*"} if watch.is_wildcard else set())),
        watch.version_sent,
        watch.version_acked,
        watch.nack,
        watch.answered == watch.nonce,
    )
