"""Upstreams that answer by script, one port for each cluster, and note what arrives."""

import asyncio
import socket
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any

_LINGER = b"\x01\x00\x00\x00\x00\x00\x00\x00"
_LIMIT = 10.0


@dataclass(slots=True)
class Arrived:
    """A request as the upstream got it."""

    cluster: str
    method: str
    path: str
    authority: str | None
    headers: list[tuple[str, str]]
    body: bytes


class ScriptedUpstream:
    """Serves on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._ports: dict[str, int] = {}
        self._script: Sequence[Mapping[str, Any]] = ({},)
        self._answered = 0
        self._shadows: frozenset[str] = frozenset()
        self.arrived: list[Arrived] = []

    @classmethod
    @contextmanager
    def listening(cls) -> Generator["ScriptedUpstream"]:
        """For the time of a block."""
        found = cls()
        found._thread.start()
        try:
            yield found
        finally:
            asyncio.run_coroutine_threadsafe(found._end(), found._loop).result(_LIMIT)
            found._loop.call_soon_threadsafe(found._loop.stop)
            found._thread.join(_LIMIT)
            found._loop.close()

    def port(self, cluster: str) -> int:
        """Where a cluster's only endpoint listens."""
        known = self._ports.get(cluster)
        if known is None:
            serve = self._serve_cluster(cluster)
            known = asyncio.run_coroutine_threadsafe(serve, self._loop).result(_LIMIT)
            self._ports[cluster] = known
        return known

    def begin(
        self, script: Sequence[Mapping[str, Any]], shadows: frozenset[str] = frozenset()
    ) -> None:
        """The next request begins: its attempts get these answers, the last one for ever. Clusters
        that mirrors go to have no part in that."""
        self._script, self._answered, self.arrived, self._shadows = script, 0, [], shadows

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve_cluster(self, cluster: str) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
                while await self._exchange(cluster, reader, writer):
                    pass
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=256)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _exchange(
        self, cluster: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        method, path, _ = first.split(" ", 2)
        pairs = [line.partition(":") for line in lines]
        headers = [(name.lower(), value.strip()) for name, _, value in pairs]
        fields = dict(headers)
        body = b""
        if fields.get("transfer-encoding") == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
        elif "content-length" in fields:
            body = await reader.readexactly(int(fields["content-length"]))
        others = [pair for pair in headers if pair[0] != "host"]
        self.arrived.append(Arrived(cluster, method, path, fields.get("host"), others, body))
        if cluster in self._shadows:
            return await self._answer({}, method, writer)
        step = self._script[min(self._answered, len(self._script) - 1)]
        self._answered += 1
        return await self._answer(step, method, writer)

    async def _answer(
        self, step: Mapping[str, Any], method: str, writer: asyncio.StreamWriter
    ) -> bool:
        if step.get("delay_ms"):
            await asyncio.sleep(step["delay_ms"] / 1000)
        action = step.get("action", "respond")
        if action == "reset":
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            writer.transport.abort()
            return False
        if action == "close":
            return False
        status = step.get("status", 200)
        body = str(step.get("body", "ok")).encode()
        if method == "HEAD" or status in (204, 304):
            body = b""
        lines = [f"HTTP/1.1 {status} X"]
        lines += [f"{name}: {value}" for name, value in step.get("headers", ())]
        if status not in (204, 304):
            lines.append(f"content-length: {len(body)}")
        writer.write("\r\n".join((*lines, "", "")).encode("latin-1") + body)
        await writer.drain()
        return True
