"""The request that is being answered: what calls made meanwhile take from it.

Adapters of servers run the application between `enter_serving` and `leave_serving`; threads and
tasks that copy the context, as `asyncio.to_thread` does, take it along.
"""

from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Final, TypeAlias

from meshsdk.call.headers import Headers, Pair
from meshsdk.call.message import Request

_TRACE: Final = (
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
)
"""W3C Trace Context and B3 (openzipkin/b3-propagation), both of its forms."""
TRACE_FIELDS: Final = frozenset(_TRACE)
_EACH: Final = ("baggage", "x-request-id")
"""Carried one by one, unless the call has its own."""
_UNASKED: Final = object()

Detach: TypeAlias = Callable[[], None]


class Serving:
    """One request that the application answers. Nothing is worked out until a call asks."""

    __slots__ = ("_carried", "_deadline", "_find_deadline", "attach", "is_over", "request")

    def __init__(
        self,
        request: Request,
        find_deadline: Callable[[], float | None],
        attach: Callable[[], Detach] | None = None,
    ) -> None:
        """`request`: as the application gets it. `find_deadline`: monotonic seconds after which
        nobody waits for the answer. `attach`: makes a span current; its result undoes it."""
        self.request = request
        self.attach = attach
        self.is_over = False
        """The answer is out: what the application still does bears the trace and no deadline."""
        self._find_deadline = find_deadline
        self._deadline: object = _UNASKED
        self._carried: tuple[tuple[Pair, ...], tuple[Pair, ...]] | None = None

    @property
    def deadline(self) -> float | None:
        """Monotonic seconds after which nobody waits for the answer; None: unbounded."""
        if self._deadline is _UNASKED:
            self._deadline = self._find_deadline()
        assert self._deadline is None or isinstance(self._deadline, float)
        return self._deadline

    def carry(self, request: Request) -> Request:
        """A call's request with the trace, baggage and request id of the one that is answered,
        where it has none of its own."""
        carried = self._carried
        if carried is None:
            headers = self.request.headers
            carried = self._carried = (_joined(headers, _TRACE), _joined(headers, _EACH))
        trace, each = carried
        headers = request.headers
        more: list[Pair] = []
        if trace and not headers.has_any(TRACE_FIELDS):
            more += trace
        more += [pair for pair in each if pair[0] not in headers]
        return request.with_headers(headers.exchanged("", more)) if more else request


def _joined(headers: Headers, names: tuple[str, ...]) -> tuple[Pair, ...]:
    """These fields, each in one line: `tracestate` and `baggage` may come in several."""
    found = [(name, headers.values(name)) for name in names]
    return tuple([(name, ",".join(values)) for name, values in found if values])


_SERVING: ContextVar[Serving | None] = ContextVar("meshsdk_serving", default=None)


def current_serving() -> Serving | None:
    """The request that is being answered here; None outside of requests."""
    return _SERVING.get()


@dataclass(slots=True)
class Entered:
    """For `leave_serving`."""

    token: Token[Serving | None]
    detach: Detach | None


def enter_serving(serving: Serving | None) -> Entered:
    """For adapters, before the application runs."""
    token = _SERVING.set(serving)
    attach = None if serving is None else serving.attach
    return Entered(token, None if attach is None else attach())


def leave_serving(entered: Entered) -> None:
    """For adapters, in the same context as `enter_serving`."""
    try:
        if entered.detach is not None:
            entered.detach()
    finally:
        _SERVING.reset(entered.token)
