"""One HTTP request of an ASGI server."""

from collections.abc import Callable, Coroutine, Generator, Iterable
from functools import partial
from inspect import iscoroutine
from types import coroutine
from typing import Final, cast

from meshsdk.call.effects import Deliver, Effect, Flow
from meshsdk.call.headers import RawPair
from meshsdk.call.message import BodyEnd, Response
from meshsdk.downstream.asgi_exchange import (
    Body,
    app_response,
    broken_off,
    close,
    delivered,
    is_apps_own,
    local_messages,
    settle,
)
from meshsdk.downstream.asgi_scope import AsgiApp, AsgiReceive, AsgiSend, Message, Scope
from meshsdk.downstream.current import is_forbidden
from meshsdk.downstream.guard import FORBIDDEN
from meshsdk.downstream.tls_transport import TlsTransport
from meshsdk.errors import ForbiddenError
from meshsdk.flow.drive import complete

_CLOSE: Final = (b"connection", b"close")


@coroutine
def in_steps(
    running: Coroutine[object, object, None], transport: TlsTransport
) -> Generator[object, object, None]:
    """Await an application; what the server writes between two of its waits goes out in one go.

    Head and body of most answers are then one record and one system call. Nothing is held back
    while the application waits.
    """
    step: Callable[[], object] = partial(running.send, None)
    while True:
        transport.cork()
        try:
            asked = step()
        except StopIteration:
            return
        finally:
            transport.uncork()
        try:
            answer = yield asked
        except BaseException as error:
            step = partial(running.throw, error)
        else:
            step = partial(running.send, answer)


class HttpExchange:
    """From the flow's first effect to the end of the response body."""

    __slots__ = (
        "_delivered",
        "_flow",
        "_has_trailers",
        "_is_last",
        "_is_muted",
        "_is_over",
        "_send",
        "_sent",
        "_transport",
        "body",
    )

    def __init__(
        self,
        flow: Flow[None],
        receive: AsgiReceive,
        send: AsgiSend,
        *,
        is_last: bool = False,
        transport: TlsTransport | None = None,
    ) -> None:
        """`is_last`: the connection is to end with this response. `transport`: of a connection that
        carries one request at a time."""
        self._flow = flow
        self._send = send
        self._is_last = is_last
        self._transport = transport
        self.body = Body(receive)
        self._sent = 0
        self._delivered = False
        self._has_trailers = False
        self._is_muted = False
        """The application's answer was replaced: what it still sends goes nowhere."""
        self._is_over = False

    def abandon(self, error: BaseException | None) -> None:
        """The check itself failed."""
        self._break_off(error)

    async def answer(self, response: Response) -> None:
        """Send the mesh's own answer, which the flow delivered."""
        self._delivered = True
        transport = self._transport
        if transport is not None:
            transport.cork()  # head and body in one go
        try:
            await self._send_whole(response)
        except BaseException as error:
            self._break_off(error)
            raise
        finally:
            if transport is not None:
                transport.uncork()

    async def run(self, app: AsgiApp, scope: Scope) -> None:
        """Let the application answer; its exceptions pass through, once the flow knows of them."""
        running = app(scope, self.body.receive, self.send)
        try:
            if self._transport is not None and iscoroutine(running):
                await in_steps(running, self._transport)
            else:
                await running
        except ForbiddenError:
            await self._forbid()
        except BaseException as error:
            self._break_off(error)
            raise
        self._break_off(None)

    async def _forbid(self) -> None:
        """A guard's refusal came through the application: what it did not answer, we do."""
        if not self._delivered:
            await self.send({"type": "http.response.start", "status": 500, "headers": []})

    async def send(self, message: Message) -> None:
        """The application's `send`."""
        kind = message["type"]
        if kind == "http.response.start" and not self._delivered:
            status = cast("int", message["status"])
            response = app_response(status, message)
            if status >= 500 and is_forbidden():
                await self._begin(message, response, self._flow.send(FORBIDDEN))
                return
            effect = self._flow.send(response)
            if self._is_last or not isinstance(effect, Deliver) or effect.outcome is not response:
                await self._begin(message, response, effect)
                return
            self._delivered = True
            self._has_trailers = "trailers" in message and bool(message["trailers"])
            await self._send(message)
        elif self._is_muted:
            return
        elif kind == "http.response.body":
            await self._send(message)
            body = message.get("body")
            if body:
                self._sent += len(cast("bytes", body))
            if not message.get("more_body") and not self._has_trailers:
                self._finish()
        else:
            await self._send_other(kind, message)

    async def _send_other(self, kind: object, message: Message) -> None:
        await self._send(message)
        match kind:
            case "http.response.trailers" if not message.get("more_trailers"):
                self._finish()
            case "http.response.pathsend" | "http.response.zerocopysend":
                if not message.get("more_body") and not self._has_trailers:
                    self._finish()
            case _:
                pass

    async def _begin(self, message: Message, sent: Response, effect: Effect) -> None:
        """Begin an answer that is not just what the application sent."""
        if not isinstance(effect, Deliver):
            effect = await settle(self._flow, effect, self.body)
        response = delivered(effect)
        self._delivered = True
        if response is not sent and not is_apps_own(response):
            self._is_muted = True
            await self._send_whole(response)
            return
        self._has_trailers = bool(message.get("trailers"))
        if response is not sent or self._is_last:
            raw = list(response.headers.raw())
            message = self._start({**message, "status": response.status, "headers": raw})
        await self._send(message)

    async def _send_whole(self, response: Response) -> None:
        start, body = local_messages(response)
        await self._send(self._start(start))
        await self._send(body)
        self._sent = len(cast("bytes", body["body"]))
        self._finish()

    def _start(self, message: Message) -> Message:
        if self._is_last:
            fields = cast("Iterable[RawPair]", message["headers"])
            others = [pair for pair in fields if pair[0] != b"connection"]
            return {**message, "headers": [*others, _CLOSE]}
        return message

    def _finish(self) -> None:
        if not self._is_over:
            self._is_over = True
            complete(self._flow, BodyEnd(self._sent, self.body.received))

    def _break_off(self, error: BaseException | None) -> None:
        """The application is done; so is the flow, whole answer or not."""
        if self._is_over:
            return
        self._is_over = True
        if self._delivered:
            complete(self._flow, broken_off(self._sent, self.body.received, error))
        else:
            close(self._flow, error)
