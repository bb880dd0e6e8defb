"""One websocket of an ASGI server: judged like any request, before it is accepted."""

from typing import Final, cast

from meshsdk.call.effects import Flow
from meshsdk.call.message import BodyEnd, Response
from meshsdk.downstream.asgi_exchange import (
    DENIAL,
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
from meshsdk.flow.drive import complete

_SWITCHING: Final = 101


class WebsocketExchange:
    """From the handshake request to the end of the session."""

    def __init__(
        self,
        flow: Flow[None],
        receive: AsgiReceive,
        send: AsgiSend,
        *,
        can_answer: bool,
    ) -> None:
        """`can_answer`: the server has the denial extension; else every refusal is a 403."""
        self._flow = flow
        self._send = send
        self._can_answer = can_answer
        self.body = Body(receive)
        self._sent = 0
        self._delivered = False
        self._is_muted = False
        self._is_over = False

    def abandon(self, error: BaseException | None) -> None:
        """The check itself failed."""
        self._break_off(error)

    async def answer(self, response: Response) -> None:
        """Refuse the handshake with the mesh's own answer, which the flow delivered."""
        self._delivered = True
        try:
            await self._refuse(response)
        except BaseException as error:
            self._break_off(error)
            raise
        self._finish()

    async def _refuse(self, response: Response) -> None:
        if self._can_answer:
            for message in local_messages(response, DENIAL):
                await self._send(message)
        else:
            await self._send({"type": "websocket.close", "code": 1008, "reason": ""})

    async def run(self, app: AsgiApp, scope: Scope) -> None:
        """Let the application answer, and then speak for as long as it likes."""
        try:
            await app(scope, self.body.receive, self.send)
        except BaseException as error:
            self._break_off(error)
            raise
        if self._delivered:
            self._finish()
        else:
            self._break_off(None)

    async def send(self, message: Message) -> None:
        """The application's `send`."""
        if self._is_muted:
            return
        if self._delivered:
            await self._send(message)
            data = message.get("bytes") or message.get("text") or message.get("body") or b""
            self._sent += len(cast("bytes", data))
            return
        match message["type"]:
            case "websocket.accept":
                await self._begin(_SWITCHING, message)
            case "websocket.close":
                await self._begin(403, message)
            case "websocket.http.response.start":
                await self._begin(cast("int", message["status"]), message)
            case _:
                await self._send(message)

    async def _begin(self, status: int, message: Message) -> None:
        sent = app_response(status, message)
        effect = await settle(self._flow, self._flow.send(sent), self.body)
        response = delivered(effect)
        self._delivered = True
        if not is_apps_own(response) or (status == _SWITCHING and response.status != status):
            self._is_muted = True
            await self._refuse(response)
            self._finish()
            return
        if response is not sent and message["type"] != "websocket.close":
            message = {**message, "headers": list(response.headers.raw())}
            if "status" in message:
                message["status"] = response.status
        await self._send(message)

    def _finish(self) -> None:
        if not self._is_over:
            self._is_over = True
            complete(self._flow, BodyEnd(self._sent, self.body.received))

    def _break_off(self, error: BaseException | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._delivered:
            complete(self._flow, broken_off(self._sent, self.body.received, error))
        else:
            close(self._flow, error)
