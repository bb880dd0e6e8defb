"""Base64url as Envoy reads it, which takes more than RFC 7515 does. Source: absl, WebSafeBase64Unescape."""

import base64
import binascii
import re
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]*")
_BLANK: Final = re.compile(r"[ \t\n\v\f\r]+")
_PADDED: Final = re.compile(r"([A-Za-z0-9_-]*)([=.]*)")
_PADDING: Final = {0: 0, 2: 2, 3: 1}
"""Expected `=` by length modulo 4; one left-over character is never right."""


def decode(text: str) -> bytes | None:
    """The octets, or None. Padding may be there or not, blanks anywhere, and the bits that the last
    character has too many are not looked at."""
    if _PLAIN.fullmatch(text) is None:
        found = _PADDED.fullmatch(_BLANK.sub("", text))
        if found is None:
            return None
        text, equals = found[1], len(found[2])
        if equals not in (0, _PADDING.get(len(text) % 4, 0)):
            return None
    missing = _PADDING.get(len(text) % 4)
    if missing is None:
        return None
    try:
        return base64.urlsafe_b64decode(text + "=" * missing)
    except (binascii.Error, ValueError):
        return None


def encode(octets: bytes) -> str:
    """Base64url without padding, the only spelling that RFC 7515 has."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
