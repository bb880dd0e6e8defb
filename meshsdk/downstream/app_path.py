"""The path that applications are given: decoded, but for what would become a separator.

Policy saw `/public/..%2fadmin` as two segments. A server that decodes it hands `/public/../admin` to the
application, which would see three (THREATS P9): escaped slashes and backslashes stay as they came.
"""

import re
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

_SEPARATOR: Final = re.compile("(%2[fF]|%5[cC])")


def hides_separators(path: str) -> bool:
    """Whether decoding all of a path would make segments that policy did not see."""
    return "%" in path and _SEPARATOR.search(path) is not None


def decoded(path: str) -> str:
    """For ASGI: text, as UTF-8 has it."""
    if "%" not in path:
        return path
    parts = _SEPARATOR.split(path)
    return "".join(part if i % 2 else unquote(part) for i, part in enumerate(parts))


def decoded_octets(path: str) -> str:
    """For WSGI: octets, as latin-1 has them."""
    if "%" not in path:
        return path
    parts = _SEPARATOR.split(path)
    return "".join(
        part if i % 2 else unquote_to_bytes(part.encode("latin-1")).decode("latin-1")
        for i, part in enumerate(parts)
    )
