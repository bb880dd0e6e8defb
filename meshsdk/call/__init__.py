"""The nouns of one call. Importing this room loads nothing but this library's own small modules."""

from meshsdk.call.address import Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.context import CallContext
from meshsdk.call.effects import (
    Attempt,
    BodyRead,
    CallApp,
    Deliver,
    Dial,
    Dialed,
    Effect,
    Fetch,
    Fetched,
    Flow,
    Mirror,
    ReadBody,
    Reply,
    Send,
    Sleep,
    WaitForConfig,
    read_body,
    sleep,
)
from meshsdk.call.endpoint import Endpoint, HealthStatus, Host, HostState, Locality
from meshsdk.call.filter import Continue, HttpFilter, NetworkFilter, OnResponse, Step, Verdict
from meshsdk.call.headers import Headers
from meshsdk.call.message import (
    BodyEnd,
    LocalReply,
    Outcome,
    Protocol,
    Request,
    Reset,
    ResetReason,
    Response,
)
from meshsdk.call.spiffe_id import SpiffeId

__all__ = [
    "Address",
    "Attempt",
    "BodyEnd",
    "BodyRead",
    "CallApp",
    "CallContext",
    "Certificate",
    "Connection",
    "Continue",
    "Deliver",
    "Dial",
    "Dialed",
    "Effect",
    "Endpoint",
    "Fetch",
    "Fetched",
    "Flow",
    "Headers",
    "HealthStatus",
    "Host",
    "HostState",
    "HttpFilter",
    "LocalReply",
    "Locality",
    "Mirror",
    "NetworkFilter",
    "OnResponse",
    "Outcome",
    "Peer",
    "Protocol",
    "ReadBody",
    "Reply",
    "Request",
    "Reset",
    "ResetReason",
    "Response",
    "Send",
    "Sleep",
    "SpiffeId",
    "Step",
    "Verdict",
    "WaitForConfig",
    "read_body",
    "sleep",
]
