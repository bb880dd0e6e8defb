"""An HTTP side call: one attempt and its whole answer. Decided once for all colours."""

from typing import TypeVar

from meshsdk.call.effects import Fetch, Fetched, Send
from meshsdk.call.headers import Headers
from meshsdk.call.message import Reset, ResetReason, Response
from meshsdk.flow.plan import Plan
from meshsdk.flow.side_call import hold
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.connection import Connection
from meshsdk.upstream.exchange import BodyBroken, Exchange, attempt, next_piece
from meshsdk.upstream.head import HeadError
from meshsdk.upstream.pools import Pools
from meshsdk.upstream.steps import Steps
from meshsdk.upstream.timeouts import UNBOUNDED

C = TypeVar("C", bound=Connection)


def fetched(
    pools: Pools[C], plan: Plan | None, fetch: Fetch, *, is_grpc: bool = False
) -> Steps[C, Fetched | Reset]:
    """Send it and read the answer, in `fetch.timeout` altogether. No redirect is followed.

    `is_grpc`: the host is judged by the status in the trailers.
    """
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


def _told(whole: Fetched) -> Response:
    """What an answer says of its host, trailers included."""
    response, trailers = whole.response, whole.trailers
    return response if trailers is None else response.with_headers(response.headers.plus(trailers))
