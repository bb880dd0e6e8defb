"""What an HTTP filter is."""

from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Flow
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.call.value import value

OnResponse: TypeAlias = Callable[[Response, CallContext], Response]


@value
class Continue:
    """Go on with this request; `on_response` sees the answer, last filter first."""

    request: Request
    on_response: OnResponse | None = None
    reroute: bool = False
    """Match the route again: the filter changed what routes look at."""


Verdict: TypeAlias = Continue | LocalReply
Step: TypeAlias = Verdict | Flow[Verdict]


class HttpFilter(Protocol):
    """A compiled filter config. It keeps nothing of a call; live state sits in the plan's tables."""

    def on_request(self, request: Request, context: CallContext) -> Step:
        """Decide on the request headers; a filter that must wait gives a flow."""
        ...


@runtime_checkable
class SeesEveryAnswer(Protocol):
    """An HTTP filter that sees answers of calls too on which a filter before it has decided."""

    def on_unasked(self, response: Response, context: CallContext) -> Response:
        """What `on_response` of its verdict would do, had it been asked."""
        ...


@runtime_checkable
class NetworkFilter(Protocol):
    """A compiled network filter before the terminal one: it sees the connection alone."""

    def on_connection(self, context: CallContext) -> LocalReply | None:
        """None: go on; else why the connection is closed (`details`) and its response flag."""
        ...
