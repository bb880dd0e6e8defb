"""Who the client is, after X-Forwarded-For was judged.

Source: Envoy, ConnectionManagerUtility::mutateRequestHeaders, Utility::getLastAddressFromXFF.
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.address import Address
from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.matching.cidr import any_contains, parse_ip
from meshsdk.resources.hcm_options import HcmOptions

XFF: Final = "x-forwarded-for"
_LOOPBACK: Final = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Client:
    """The client of a request, and the field that tells the next hop."""

    address: Address
    is_internal: bool
    forwarded_for: str | None
    """None: the field stays as it is."""


def judge(headers: Headers, options: HcmOptions, context: CallContext) -> Client:
    """The client of a request with these fields."""
    peer = context.connection.peer.connection
    sent = ",".join(headers.values(XFF)) if XFF in headers else None
    hops = options.xff_num_trusted_hops
    if options.use_remote_address:
        may_be_internal = sent is None
        found = _from_the_right(sent, hops - 1) if hops > 0 and sent is not None else None
        address = peer if found is None else Address(found, 0)
        forwarded = None
        if not options.skip_xff_append:
            ours = options.local_address if peer.host in _LOOPBACK else peer.host
            forwarded = f"{sent},{ours}" if sent else ours
    else:
        found = None if sent is None else _from_the_right(sent, hops)
        address = peer if found is None else Address(found, 0)
        # Envoy: only a field with this one address speaks for an internal caller.
        may_be_internal = found is not None and hops == 0 and "," not in (sent or "")
        forwarded = None
    internal = may_be_internal and any_contains(options.internal_cidr_ranges, address.host)
    return Client(address, internal, forwarded)


def _from_the_right(field: str, skip: int) -> str | None:
    """The address before the last `skip` ones; None where there is none, or none that is one."""
    parts = field.split(",")
    if skip >= len(parts):
        return None
    text = parts[len(parts) - 1 - skip].strip(" \t")
    return text if text and parse_ip(text) is not None else None
