"""What one stream was told about one type, and what it must be told next; both ADS variants."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.xds.messages import DiscoveryRequest, Variant

WILDCARD: Final = "*"


@dataclass(frozen=True, slots=True)
class Subscription:
    """What is wanted of a type."""

    names: frozenset[str] = frozenset()
    wildcard: bool = False
    """Everything there is."""

    def __bool__(self) -> bool:
        return self.wildcard or bool(self.names)


NOTHING: Final = Subscription()


class TypeStream:
    """The conversation about one type on one stream. A reconnect starts a new one."""

    def __init__(self, type_url: str, variant: Variant, version: str = "") -> None:
        """`version`: SotW, what was accepted last on an earlier stream."""
        self.type_url = type_url
        self.nonce = ""
        self.sent: Subscription = NOTHING
        self.has_asked = False
        self.version = version
        self._variant: Variant = variant

    def ask(
        self, wanted: Subscription, held: Mapping[str, str], *, is_full: bool
    ) -> DiscoveryRequest | None:
        """A spontaneous request for a subscription that changed; None when nothing is to say.

        `held`: names and versions that we have from an earlier stream, for the first request.
        `is_full`: of a type where an empty list of names would mean everything.
        """
        if wanted == self.sent or (not self.has_asked and not wanted):
            return None
        before, self.sent = self.sent, wanted
        is_first, self.has_asked = not self.has_asked, True
        if self._variant == "delta":
            return DiscoveryRequest(
                self.type_url,
                subscribe=_sorted(_listed(wanted) - _listed(before)),
                unsubscribe=_sorted(_listed(before) - _listed(wanted)),
                initial_resource_versions=dict(held) if is_first else {},
            )
        if is_full and not wanted:
            # An empty list would mean everything (FEED.md 1.7): keep the old one, use none of it.
            self.sent = before
            return None
        return DiscoveryRequest(
            self.type_url, nonce=self.nonce, version=self.version, names=_names(wanted)
        )

    def answer(self, nonce: str, version: str, error: str | None) -> DiscoveryRequest:
        """The ACK or NACK of a response. In SotW it repeats the whole subscription, so a change
        that was sent with an older nonce is not lost; in delta it never carries one."""
        self.nonce = nonce
        if error is None:
            self.version = version
        if self._variant == "delta":
            return DiscoveryRequest(self.type_url, nonce=nonce, error=error)
        return DiscoveryRequest(
            self.type_url,
            nonce=nonce,
            version=self.version,
            names=_names(self.sent),
            error=error,
        )


def _listed(wanted: Subscription) -> frozenset[str]:
    return wanted.names | {WILDCARD} if wanted.wildcard else wanted.names


def _names(wanted: Subscription) -> tuple[str, ...]:
    """SotW: the wildcard alone is an empty list."""
    if wanted.wildcard:
        return (WILDCARD, *_sorted(wanted.names)) if wanted.names else ()
    return _sorted(wanted.names)


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))
