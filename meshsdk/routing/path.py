"""Path normalisation as Envoy 1.40 does it, byte for byte (PathUtil over Chromium's URL canon)."""

import re
from enum import Enum
from typing import Final

from meshsdk.resources.hcm_options import EscapedSlashes, HcmOptions

# Nothing that any step below would change or refuse: no escape, no dot segment, no empty segment.
_UNTOUCHED: Final = re.compile(r"(?:/(?![.])[A-Za-z0-9_~!$&'()*+,;=:@\[\].-]+)+/?|/")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_MARK: Final = "\0"
"""Stands for a `%` that is no escape; a NUL never reaches this module."""
_BARE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NESTED: Final = re.compile(rf"{_MARK}(?=[0-9A-Fa-f]{{2}})")
_ESCAPED_SLASH: Final = re.compile(r"%(?:2[Ff]|5[Cc])")
# CVE-2026-73551: a dot segment with parameters is a dot segment; only `/` ends it here.
_DOTS_WITH_PARAMETERS: Final = re.compile(r"(?<=/)(\.\.?);[^/]*")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ENCODED: Final = {
    **{c: f"%{c:02X}" for c in (*range(0x21), *range(0x7F, 0x100))},
    **{ord(c): f"%{ord(c):02X}" for c in '"<>^`{|}'},
}


class Refusal(Enum):
    """Why a path cannot be normalised."""

    NUL = "an escaped NUL"
    ESCAPED_SLASH = "an escaped slash"


def is_untouched(path: str) -> bool:
    """Whether no option whatever changes this path (without query)."""
    return _UNTOUCHED.fullmatch(path) is not None


def normalize(path: str, options: HcmOptions) -> tuple[str, bool] | Refusal:
    """The path (without query) after every step that is switched on, and whether the caller must
    be redirected to it."""
    redirect = False
    action = options.path_with_escaped_slashes_action
    if action is not EscapedSlashes.KEEP_UNCHANGED and _ESCAPED_SLASH.search(path):
        if action is EscapedSlashes.REJECT_REQUEST:
            return Refusal.ESCAPED_SLASH
        path = _ESCAPED_SLASH.sub(lambda m: "/" if m[0][1] == "2" else "\\", path)
        redirect = action is EscapedSlashes.UNESCAPE_AND_REDIRECT
    if options.normalize_path:
        canonical = canonical_path(path)
        if canonical is None:
            return Refusal.NUL
        path = canonical
    if options.merge_slashes:
        path = merge_slashes(path)
    return path, redirect


def canonical_path(path: str) -> str | None:
    """normalize_path: dot segments resolved, backslashes turned, unreserved octets bare; None for
    an escaped NUL."""
    if ";" in path:
        path = _DOTS_WITH_PARAMETERS.sub(r"\1", path)
    if "%" in path:
        if "%00" in path:
            return None
        path = _unescape(path)
    path = path.replace("\\", "/").translate(_ENCODED)
    if "/." not in path:
        return path
    segments: list[str] = []
    parts = path.split("/")[1:]
    for part in parts:
        if part == "..":
            if segments:
                segments.pop()
        elif part != ".":
            segments.append(part)
    if parts[-1] in (".", ".."):
        segments.append("")
    return "/" + "/".join(segments)


def _unescape(path: str) -> str:
    """Unreserved octets bare. A `%` that was no escape stays none: where what was decoded behind
    it would make it one, it becomes `%25`."""
    path = _BARE_PERCENT.sub(_MARK, path)
    path = _ESCAPE.sub(_unescaped, path)
    if _MARK in path:
        path = _NESTED.sub("%25", path).replace(_MARK, "%")
    return path


def _unescaped(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if character in _UNRESERVED else found[0]


def merge_slashes(path: str) -> str:
    """merge_slashes: runs of slashes are one, but for `//` alone (Envoy, PathUtil::mergeSlashes)."""
    if "//" not in path:
        return path
    inner = "/".join(part for part in path.split("/") if part)
    return f"{'/' if path.startswith('/') else ''}{inner}{'/' if path.endswith('/') else ''}"
