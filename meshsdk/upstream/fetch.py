"""An HTTP side call: one attempt and its whole answer. Decided once for all colours."""

from typing import Final, TypeVar

from meshsdk.call.effects import Fetch, Fetched, Send
from meshsdk.call.headers import Headers
from meshsdk.call.message import Reset, ResetReason, Response
from meshsdk.flow.plan import Plan
from meshsdk.flow.side_call import hold
from meshsdk.telemetry import SideCallEnded
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.connection import Connection
from meshsdk.upstream.exchange import BodyBroken, Exchange, attempt, next_piece
from meshsdk.upstream.head import HeadError
from meshsdk.upstream.pools import Pools
from meshsdk.upstream.steps import Steps
from meshsdk.upstream.timeouts import UNBOUNDED

C = TypeVar("C", bound=Connection)
_GRPC_CODES: Final = frozenset(str(code) for code in range(17))


def fetched(
    pools: Pools[C], plan: Plan | None, fetch: Fetch, *, is_grpc: bool = False
) -> Steps[C, Fetched | Reset]:
    """Send it and read the answer, in `fetch.timeout` altogether. No redirect is followed.

    `is_grpc`: the host is judged by the status in the trailers.
    """
    began = pools.clock.monotonic()
    outcome = yield from _outcome(pools, plan, fetch, is_grpc)
    if plan is not None:
        seconds = pools.clock.monotonic() - began
        plan.live.emit(SideCallEnded(fetch.cluster, _result(outcome, is_grpc), seconds))
    return outcome


def _outcome(
    pools: Pools[C], plan: Plan | None, fetch: Fetch, is_grpc: bool
) -> Steps[C, Fetched | Reset]:
    held = hold(plan, fetch)
    if isinstance(held, Reset):
        return held
    try:
        ends = None if fetch.timeout is None else pools.clock.monotonic() + fetch.timeout
        send = Send(held.attempt(fetch.request), fetch.timeout, reset_reason_timeout=False)
        try:
            ask = pools.ask(send, RequestBody(fetch.body), UNBOUNDED)
        except HeadError as error:
            return Reset(ResetReason.PROTOCOL_ERROR, str(error), request_sent=False, error=error)
        if isinstance(ask, Reset):
            return ask
        outcome = yield from attempt(ask)
        if isinstance(outcome, Reset):
            held.record(outcome)
            return outcome
        exchange = pools.exchange(outcome)
        assert exchange is not None
        exchange.deadline = ends
        whole = yield from _whole(exchange, outcome, fetch.max_bytes)
        held.record(whole if isinstance(whole, Reset) else _told(whole), is_grpc=is_grpc)
        return whole
    finally:
        held.release()


def _whole(exchange: Exchange[C], response: Response, limit: int) -> Steps[C, Fetched | Reset]:
    """The answer with its body; the connection is given back or closed, however this ends."""
    pieces: list[bytes] = []
    trailers: Headers | None = None
    try:
        while True:
            piece = yield from next_piece(exchange)
            if piece is None:
                break
            pieces.append(piece)
            if exchange.received > limit:
                detail = f"an answer of more than {limit} octets"
                return Reset(ResetReason.PROTOCOL_ERROR, detail, body_started=True)
    except BodyBroken as broken:
        return broken.reset
    else:
        if exchange.connection is not None and exchange.http.trailers is not None:
            trailers = Headers.from_raw(exchange.http.trailers)
        exchange.finish()
    finally:
        exchange.abandon()
    return Fetched(response, b"".join(pieces), trailers)


def _result(outcome: Fetched | Reset, is_grpc: bool) -> str:
    """For telemetry; never more different words than there are statuses."""
    if isinstance(outcome, Reset):
        return outcome.reason.value
    status = outcome.response.status
    if not is_grpc or status != 200:
        return str(status)
    code = _told(outcome).headers.get("grpc-status") or ""
    return f"grpc {code}" if code in _GRPC_CODES else "grpc 2"


def _told(whole: Fetched) -> Response:
    """What an answer says of its host, trailers included."""
    response, trailers = whole.response, whole.trailers
    return response if trailers is None else response.with_headers(response.headers.plus(trailers))
