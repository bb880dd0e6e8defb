"""Outbound calls of blocking client libraries."""

from collections.abc import Iterator

from meshsdk.call.effects import (
    Dial,
    Dialed,
    Effect,
    Fetch,
    GrpcFetch,
    Mirror,
    ReadBody,
    Reply,
    Send,
    Sleep,
    WaitForConfig,
)
from meshsdk.call.message import Outcome, Reset, Response
from meshsdk.flow.drive import drive
from meshsdk.runtime.sleeping import sleep
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.calls import (
    Call,
    Membership,
    ResponseBody,
    Wanted,
    ask_over,
    body_read,
    refused,
)
from meshsdk.upstream.exchange import BodyBroken
from meshsdk.upstream.sync_connection import SyncConnection
from meshsdk.upstream.sync_hedges import SyncHedges


class SyncCall(Call):
    """Runs on the caller's thread."""

    __slots__ = ("upstream",)

    def __init__(self, mesh: Membership, wanted: Wanted) -> None:
        super().__init__(mesh, wanted)
        self.upstream = mesh.sync_upstream

    def run(self) -> Outcome:
        """The delivered outcome. `BodyOf` reads a response's body; a Reset ended the call.

        CallerTimedOut, NotReadyError, HeadError, BodyLengthError, and what the body raises.
        """
        outcome: Outcome | Dialed
        try:
            outcome = drive(self.flow, self._perform)
            self._settle(outcome)
            if isinstance(outcome, Dialed):
                outcome = self._over(outcome)
            if isinstance(outcome, Reset):
                self.ended(0, reset=outcome)
        except BaseException:
            self.end_early()
            raise
        return outcome

    def _perform(self, effect: Effect) -> Reply:
        upstream, wanted = self.upstream, self.wanted
        if self._undelivered is not None:
            self._settle_response()
        match effect:
            case Send():
                if effect.keep_after is not None or self.beside is not None:
                    return self._sent(self._hedged(effect))
                return self._sent(upstream.send(effect, wanted.body, wanted.timeouts))
            case Sleep(seconds):
                sleep(seconds)
                return None
            case Dial():
                return upstream.dial(effect, wanted.origin, wanted.timeouts)
            case Mirror():
                upstream.mirror(effect, wanted.body)
                return None
            case ReadBody(limit):
                _pull(wanted.body, limit)
                return body_read(wanted.body, limit)
            case WaitForConfig(_, timeout, listener):
                if listener:
                    self.mesh.feed.want(listener)
                changed = self.mesh.publisher.wait(self._seen, timeout)
                self._seen = self.mesh.publisher.plan
                return changed
            case Fetch() | GrpcFetch():
                return self.mesh.fetcher.fetch(effect)
            case _:
                return refused(effect)

    def _hedged(self, send: Send) -> Outcome:
        """A Send that keeps attempts running."""
        if self.beside is None:
            self.beside = SyncHedges(self.upstream)
        assert isinstance(self.beside, SyncHedges)
        self.beside.settle((send.attempt, *send.also))
        return self.beside.send(send, self.wanted.body, self.wanted.timeouts)

    def _over(self, dialed: Dialed) -> Outcome:
        """The application's own HTTP over a raw connection (tcp_proxy)."""
        lent = self.upstream.lent(dialed)
        try:
            ask = ask_over(self.wanted, lent, self.upstream.clock)
            return self.upstream.send_over(ask, lent)
        finally:
            lent.close()


def _pull(body: RequestBody, limit: int) -> None:
    while not body.exhausted and body.pulled <= limit:
        chunk = body.pull()
        if chunk is None:
            body.ended()
        else:
            body.pulled_one(chunk, is_for_a_filter=True)


class SyncBody(ResponseBody[SyncConnection]):
    """A body that is read piece by piece."""

    __slots__ = ("_upstream",)

    def __init__(self, call: SyncCall, response: Response) -> None:
        self._upstream = call.upstream
        super().__init__(call, call.upstream.exchange(response))

    def __iter__(self) -> Iterator[bytes]:
        """The pieces as they come. BodyBroken, CallerTimedOut."""
        exchange, upstream = self._exchange, self._upstream
        if exchange.is_switched:
            return  # 101: what follows is no body
        try:
            while not self._is_over:
                piece = upstream.read(exchange)
                if self._pace is not None:
                    for wait, part in self._pace.slices(piece or b""):
                        sleep(wait)
                        if part:
                            yield part
                    piece = b"" if piece else None
                if exchange.is_read:
                    self._end()
                if piece is None:
                    return
                if piece:
                    yield piece
        except BodyBroken as broken:
            self._break(broken)
            raise
        except BaseException:
            self.close()
            raise
