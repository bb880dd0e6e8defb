"""Requests that no policy and no route may see: what the HTTP codec refuses, and what we refuse
beyond Envoy (threat model, section 12; `compat="envoy"` switches that off)."""

import re
from dataclasses import replace
from functools import lru_cache
from typing import Final

from meshsdk.call.message import LocalReply, Request

# http_parser's list, which Envoy's HTTP/1 codec keeps: any other method is no HTTP/1.
_METHODS: Final = """
    ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR
    MKCOL MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT REBIND REPORT SEARCH SOURCE
    SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE
"""
METHODS: Final = frozenset(_METHODS.split())
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What Envoy's codecs let pass as authority: a wide set that has no separators of URIs.
_AUTHORITY: Final = re.compile(r"[!$%&'()*+,.0-9:;=@A-Z\[\]_a-z~-]*")
# RFC 3986 host [":" port], without userinfo.
_HOST_PORT: Final = re.compile(
    r"(?:\[[0-9A-Fa-f:.]+(?:%25[0-9A-Za-z._~-]+)?\]|[0-9A-Za-z._~*-]+)(?::[0-9]{0,5})?"
)
_LONG: Final = 256
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PATH: Final = re.compile(r"[!-~]*")

BAD_REQUEST: Final = LocalReply(
    400, b"Bad Request", flags=("DPE",), details="http1.codec_error", close=True
)
INVALID_URL: Final = replace(BAD_REQUEST, details="http1.invalid_url")
UNDERSCORE: Final = replace(BAD_REQUEST, details="http1.unexpected_underscore")
TOO_LARGE: Final = LocalReply(
    431,
    b"Request Header Fields Too Large",
    flags=("DPE",),
    details="http1.headers_too_large",
    close=True,
)
TOO_MANY: Final = replace(TOO_LARGE, details="http1.too_many_headers")
MISSING_HOST: Final = LocalReply(400, details="missing_host_header")
MISSING_PATH: Final = LocalReply(404, details="missing_path_rejected")
ABSOLUTE_PATH: Final = LocalReply(404, details="absolute_path_rejected")
PATH_NORMALIZATION: Final = LocalReply(400, details="path_normalization_failed")


def stricter(name: str) -> LocalReply:
    """A refusal that Envoy does not make; `name` is its name in section 12 of the threat model."""
    return LocalReply(400, details=f"meshsdk_refused{{{name}}}")


def is_plain_line(request: Request) -> bool:
    """Whether method and authority are beyond doubt, whatever the rules."""
    authority = request.authority
    return request.method in METHODS and (
        is_plain_authority(authority)
        if len(authority) < _LONG
        else _HOST_PORT.fullmatch(authority) is not None
    )


@lru_cache(1024)
def is_plain_authority(authority: str) -> bool:
    """Whether an authority is a host and maybe a port; remembered, as most calls repeat one."""
    return _HOST_PORT.fullmatch(authority) is not None


def refuse_line(request: Request, strict: bool) -> LocalReply | None:
    """The refusal of a method, an authority or a path that is not plain."""
    method = request.method
    if _TOKEN.fullmatch(method) is None:
        return BAD_REQUEST
    if method not in METHODS:
        if request.protocol == "http1":
            return BAD_REQUEST
        if strict and method.upper() in METHODS:
            return stricter("method-token-case")
    authority = request.authority
    if not authority:
        return MISSING_HOST
    if _AUTHORITY.fullmatch(authority) is None or (request.protocol == "h2" and "@" in authority):
        return BAD_REQUEST
    if strict and _HOST_PORT.fullmatch(authority) is None:
        return stricter("dup-host" if "," in authority else "host-grammar")
    return None


def refuse_octets(request: Request, strict: bool) -> LocalReply | None:
    """The refusal of a path with octets that are no part of a URI."""
    path = request.path
    if _PATH.fullmatch(path) is not None:
        return None
    if request.protocol == "http1" or any(c <= " " or c == "\x7f" for c in path):
        return BAD_REQUEST
    return stricter("raw-8bit-h2") if strict else None


def has_control(value: str) -> bool:
    """Whether a field value holds an octet that no value may hold."""
    return _CONTROL.search(value) is not None
