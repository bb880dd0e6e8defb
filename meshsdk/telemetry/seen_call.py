"""One call as telemetry sees it, and who takes note of it."""

import logging
import sys
from typing import Final, Protocol

from meshsdk.call.context import CallContext
from meshsdk.call.effects import CallApp, Dialed, Reply, Send
from meshsdk.call.message import BodyEnd, Outcome, Request

_LOG: Final = logging.getLogger("meshsdk.telemetry")


class CallSpans(Protocol):
    """The spans of one call."""

    def asks(self, effect: Send | CallApp) -> Send | CallApp:
        """An attempt, or the application's turn, begins: the effect that says so to the other."""
        ...

    def answered(self, reply: Reply) -> None:
        """It is over; None when an exception ended it."""
        ...

    def finished(self, call: "SeenCall") -> None:
        """The call is over."""
        ...


class CallRecorder(Protocol):
    """Takes note of calls through one connection manager. Whatever it raises is logged, no more."""

    @property
    def wants_local_address(self) -> bool:
        """Whether somebody asks for `SeenCall.local_address`."""
        ...

    def begin(self, call: "SeenCall") -> CallSpans | None:
        """A call begins; its spans, where it has some."""
        ...

    def finished(self, call: "SeenCall") -> None:
        """A call is over, its body too."""
        ...


class Telemetry(Protocol):
    """What the flow knows of telemetry."""

    def recorder(self, hcm: object, *, is_inbound: bool) -> CallRecorder | None:
        """Who takes note of the calls through a connection manager; None: nobody."""
        ...


class SeenCall:
    """Facts that the call's context does not have. Valid until the recorders have seen it."""

    __slots__ = (
        "answered_at",
        "asked_at",
        "context",
        "end",
        "error",
        "failure",
        "local_address",
        "outcome",
        "request",
        "seconds",
        "spans",
    )

    def __init__(self, request: Request, context: CallContext) -> None:
        self.request = request
        """As it came; `context.forwarded` is what became of it."""
        self.context = context
        self.outcome: Outcome | Dialed | None = None
        """What was delivered; None: the caller went away first."""
        self.end: BodyEnd | None = None
        """None: nobody read the body to its end."""
        self.error: Exception | None = None
        """What the application raised in place of an answer; servers make 500 of it."""
        self.asked_at = 0.0
        """Monotonic seconds: the last attempt began, or the application's turn."""
        self.answered_at = 0.0
        self.failure = ""
        """%UPSTREAM_TRANSPORT_FAILURE_REASON%: why the last connection failed."""
        self.local_address = ""
        """%UPSTREAM_LOCAL_ADDRESS%, where the recorder wants it and the adapter tells."""
        self.seconds = 0.0
        """From the request to the end of the response body."""
        self.spans: CallSpans | None = None

    @property
    def policy(self) -> str:
        """The policy that refused the call; empty: none did."""
        for judgement in self.context.judgements:
            if not judgement.is_dry_run and not judgement.allowed:
                return judgement.policy
        return ""


_told: Final[set[str]] = set()
"""Kinds of defects that were logged; one that every call meets is news once."""


def failed() -> None:
    """Telemetry met a defect: the call goes on. Called where the exception is handled."""
    kind = type(sys.exception()).__name__
    level = logging.DEBUG if kind in _told else logging.ERROR
    _told.add(kind)
    _LOG.log(level, "telemetry of a call failed; the call is not concerned", exc_info=True)
