"""The values of a policy's attributes, checked as istiod checks them."""

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Final

from meshsdk.control_plane.istio.spec_reader import SpecReader

_MAX_SERVICE_ACCOUNTS: Final = 16  # istiod, CheckServiceAccount
_MAX_SERVICE_ACCOUNT: Final = 320
_LITERAL: Final = re.compile(r"[a-zA-Z0-9\-._~%!$&'()+,;:@=]+\Z")  # RFC 3986, pchar
_BITS: Final = re.compile(r"0|[1-9][0-9]{0,2}")


def checked(reader: SpecReader, name: str, attribute: str) -> tuple[str, ...]:
    """The strings of a field; SpecError at the first that istiod would refuse."""
    found = reader.strings(name)
    check = _CHECKS.get(attribute)
    for i, value in enumerate(found):
        if not value:
            raise reader.error_at(name, "an empty value is not allowed", i)
        problem = None if check is None else check(value)
        if problem is not None:
            raise reader.error_at(name, problem, i)
    if attribute == "source.serviceAccount" and len(found) > _MAX_SERVICE_ACCOUNTS:
        problem = f"expected at most {_MAX_SERVICE_ACCOUNTS} values, found {len(found)}"
        raise reader.error_at(name, problem)
    return found


def hint(found: str, known: Iterable[str]) -> str:
    """`, did you mean x?` where a known word is near."""
    near = difflib.get_close_matches(found, list(known), n=1)
    return f", did you mean {near[0]}?" if near else ""


def has_template(path: str) -> bool:
    """Whether a path has the operators `{*}` or `{**}`."""
    return "{*}" in path or "{**}" in path


def _ip(value: str) -> str | None:
    address, slash, bits = value.partition("/")
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return f"expected an IP address or CIDR, found {value!r}"
    if slash and ("%" in address or not _BITS.fullmatch(bits) or int(bits) > found.max_prefixlen):
        return f"expected a CIDR such as 10.0.0.0/8, found {value!r}"
    return None


def _port(value: str) -> str | None:
    if value.isascii() and value.isdecimal() and len(value) < 12 and int(value) <= 65535:
        return None
    return f"expected a port of 0 to 65535, found {value!r}"


def _service_account(value: str) -> str | None:
    parts = value.split("/")
    if "*" in value:
        return f"no wildcards here, found {value!r}"
    if len(parts) > 2 or not all(parts) or len(value) > _MAX_SERVICE_ACCOUNT:
        return f"expected serviceAccount or namespace/serviceAccount, found {value!r}"
    return None


def _path(value: str) -> str | None:
    seen_any = False
    for segment in value.strip("/").split("/"):
        if segment in ("{*}", "{**}"):
            if seen_any:
                return f"{{**}} must be the last operator, found {value!r}"
            seen_any = segment == "{**}"
        elif "{" in segment or "}" in segment:
            return f"{{ and }} are for the operators {{*}} and {{**}}, found {value!r}"
        elif has_template(value) and not _LITERAL.match(segment):
            return f"the segment {segment!r} does not go with {{*}} and {{**}}"
    return None


_CHECKS: Final[dict[str, Callable[[str], str | None]]] = {
    "source.ip": _ip,
    "remote.ip": _ip,
    "destination.ip": _ip,
    "destination.port": _port,
    "source.serviceAccount": _service_account,
    "paths": _path,
}
