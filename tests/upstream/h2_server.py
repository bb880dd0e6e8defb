"""An HTTP/2 server whose script sees events and answers by frames."""

from collections import deque
from collections.abc import Callable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError

from tests.upstream.raw_server import Script, Served

Fields = dict[bytes, bytes]


class Served2:
    """One connection. `grants` False: the peer gets no window for what it has sent."""

    def __init__(self, served: Served, *, grants: bool = True) -> None:
        self.served = served
        self.grants = grants
        self.connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.connection.initiate_connection()
        self.flush()
        self._events: deque[Event] = deque()
        self.seen: list[Event] = []

    def flush(self) -> None:
        """Send what the protocol has."""
        data = self.connection.data_to_send()
        if data:
            self.served.socket.sendall(data)

    def next(self) -> Event | None:
        """The next event; None when the client has gone."""
        while not self._events:
            data = self.served.recv()
            if not data:
                return None
            try:
                self._events.extend(self.connection.receive_data(data))
            except ProtocolError:
                return None  # this side has said GOAWAY: whatever comes is too late
            self.flush()
        event = self._events.popleft()
        self.seen.append(event)
        if isinstance(event, DataReceived) and self.grants and event.flow_controlled_length:
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.flush()
        return event

    def request(self) -> tuple[int, Fields, bytes] | None:
        """The next whole request: its stream, fields and body."""
        stream, fields, body = 0, Fields(), b""
        while (event := self.next()) is not None:
            match event:
                case RequestReceived():
                    stream, fields = event.stream_id, dict(event.headers)
                case DataReceived():
                    body += event.data
                case StreamEnded():
                    return stream, fields, body
                case _:
                    pass
        return None

    def answer(
        self,
        stream: int,
        body: bytes = b"",
        *more: tuple[bytes, bytes],
        status: bytes = b"200",
        trailers: Fields | None = None,
    ) -> None:
        """A whole response, as fast as the client's windows let it out."""
        send = self.connection
        send.send_headers(stream, [(b":status", status), *more], end_stream=not body)
        self.flush()
        while body:
            room = min(send.local_flow_control_window(stream), send.max_outbound_frame_size)
            if not room:
                if self.next() is None:
                    return
                continue
            piece, body = body[:room], body[room:]
            send.send_data(stream, piece, end_stream=not body and trailers is None)
            self.flush()
        if trailers is not None:
            send.send_headers(stream, list(trailers.items()), end_stream=True)
            self.flush()


def h2(script: Callable[[Served2], None], *, grants: bool = True) -> Script:
    """A script of `RawServer` that speaks HTTP/2 with prior knowledge."""

    def run(served: Served) -> None:
        script(Served2(served, grants=grants))

    return run
