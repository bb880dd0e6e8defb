"""Socket names as addresses."""

from typing import cast

from meshsdk.call.address import UNKNOWN, Address

_MAPPED = "::ffff:"


def address_of(name: object) -> Address:
    """What `getsockname` and `getpeername` give; UNKNOWN for anything else.

    An IPv4 peer of a dual-stack socket is an IPv4 address, and a zone is no part of an address.
    """
    if isinstance(name, str):
        return Address(name, 0) if name else UNKNOWN
    if isinstance(name, bytes):  # an abstract unix socket
        return Address(name.decode("latin-1"), 0) if name else UNKNOWN
    if not isinstance(name, tuple | list):
        return UNKNOWN
    parts = cast("tuple[object, ...]", name)
    if len(parts) < 2:
        return UNKNOWN
    host, port = parts[:2]
    if not isinstance(host, str) or not isinstance(port, int):
        return UNKNOWN
    host = host.partition("%")[0]
    if host.startswith(_MAPPED) and "." in host:
        host = host.removeprefix(_MAPPED)
    return Address(host, port)
