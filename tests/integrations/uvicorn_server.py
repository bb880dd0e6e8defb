"""A real uvicorn on a thread, and clients for it that count every byte."""

import socket
import ssl
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread

from meshsdk.downstream.asgi_exchange import InboundMesh
from meshsdk.downstream.asgi_scope import AsgiApp
from meshsdk.integrations.uvicorn import Config, Server

LIMIT = 10.0


@dataclass(frozen=True, slots=True)
class Flavour:
    """Which parts of uvicorn serve."""

    loop: str
    http: str
    lifespan: str = "on"

    def __str__(self) -> str:
        return f"{self.loop}-{self.http}"


FLAVOURS = [Flavour(loop, http) for loop in ("asyncio", "uvloop") for http in ("h11", "httptools")]


class _Announcing(Server):
    """Says when it listens, or that it never will."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.listens = Event()
        self.port = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
            self.port = self.servers[0].sockets[0].getsockname()[1]
        finally:
            self.listens.set()


@contextmanager
def uvicorn(
    app: AsgiApp, mesh: InboundMesh | None, flavour: Flavour, **options: object
) -> Generator[int]:
    """The port of a server in the mesh; stopped gracefully at the end."""
    config = Config(
        app,
        mesh,
        host="127.0.0.1",
        port=0,
        loop=flavour.loop,
        http=flavour.http,
        lifespan=flavour.lifespan,
        log_config=None,
        timeout_graceful_shutdown=5,
        **options,
    )
    server = _Announcing(config)
    thread = Thread(target=server.run)
    thread.start()
    assert server.listens.wait(LIMIT)
    try:
        yield server.port
    finally:
        server.should_exit = True
        thread.join(LIMIT)
        assert not thread.is_alive()


class Client:
    """One connection, kept open over requests."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
        if context is not None:
            try:
                self.sock = context.wrap_socket(self.sock, server_hostname="payment.shop")
            except BaseException:
                self.sock.close()
                raise
        self._rest = b""

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def get(self, path: str = "/", *fields: str) -> tuple[int, bytes]:
        """Status and body of one exchange; ConnectionError where the other side has closed."""
        lines = (f"GET {path} HTTP/1.1", "host: payment.shop", *fields, "", "")
        self.send("\r\n".join(lines).encode())
        return self.answer()

    def answer(self) -> tuple[int, bytes]:
        head = self._until(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        if b"content-length" in fields:
            return status, self._exactly(int(fields[b"content-length"]))
        if status < 200 or b"transfer-encoding" not in fields:
            return status, b""
        body = b""
        while size := int(self._until(b"\r\n"), 16):
            body += self._exactly(size)
            self._exactly(2)
        self._exactly(2)
        return status, body

    def everything(self) -> bytes:
        """What comes until the other side closes."""
        data = b""
        with suppress(ConnectionResetError):
            while more := self.sock.recv(1 << 16):
                data += more
        return data

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            self._more()
        found, _, self._rest = self._rest.partition(mark)
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self._rest) < count:
            self._more()
        found, self._rest = self._rest[:count], self._rest[count:]
        return found

    def _more(self) -> None:
        data = self.sock.recv(1 << 16)
        if not data:
            raise ConnectionError("closed")
        self._rest += data


def ask(
    port: int, context: ssl.SSLContext | None, path: str = "/", *fields: str
) -> tuple[int, bytes] | None:
    """One request on a connection of its own; None where it was refused without an answer."""
    try:
        with closing(Client(port, context)) as client:
            return client.get(path, *fields)
    except OSError:
        return None
