"""Configured text and request octets, seen alike.

Requests carry octets as latin-1 text; configuration is Unicode. What is configured is turned into
the same view once, so that `é` in a rule means its two UTF-8 octets, as in Envoy.
"""

from typing import Final

_LOWER: Final = {c: c + 32 for c in range(ord("A"), ord("Z") + 1)}


def octets(text: str) -> str:
    """Text as the latin-1 view of its UTF-8 octets."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("latin-1")


def lower(text: str) -> str:
    """ASCII letters in lower case, every other octet as it is (Envoy folds ASCII only)."""
    return text.lower() if text.isascii() else text.translate(_LOWER)
