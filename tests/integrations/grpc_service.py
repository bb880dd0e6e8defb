"""One service of each arity whose messages say what to do; sync and asyncio, on a real port."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

GRPC: Any = grpc  # its stubs know too little
UU, US, SU, SS = "/test.Echo/UU", "/test.Echo/US", "/test.Echo/SU", "/test.Echo/SS"


class Service:
    """Counts and remembers what it was asked. `fail` answers that many calls with UNAVAILABLE."""

    def __init__(self, name: str = "a", fail: int = 0) -> None:
        self.name = name
        self.fail = fail
        self.calls = 0
        self.metadata: list[dict[str, Any]] = []
        self.remaining: list[float | None] = []
        self.cancelled = threading.Event()
        self.released = threading.Event()
        self._lock = threading.Lock()

    def begin(self, context: Any) -> None:
        with self._lock:
            self.calls += 1
            self.metadata.append(dict(context.invocation_metadata()))
            self.remaining.append(context.time_remaining())
            fails = self.fail > 0
            self.fail -= fails
        if fails:
            context.set_trailing_metadata((("x-from", self.name),))
            context.abort(grpc.StatusCode.UNAVAILABLE, f"{self.name} is not ready")

    # What a message asks for; the same words in every arity.
    def act(self, word: bytes, context: Any) -> bytes:
        match word.split(b" "):
            case [b"abort", code]:
                status = getattr(grpc.StatusCode, code.decode())
                context.set_trailing_metadata((("x-why", "because"), ("x-why-bin", b"\0\1")))
                context.abort(status, "as you wish \u00e4")
            case [b"code", code]:
                context.set_code(getattr(grpc.StatusCode, code.decode()))
                context.set_details("set")
            case [b"initial"]:
                context.send_initial_metadata((("x-early", "1"), ("x-early-bin", b"\xff")))
            case [b"trailing"]:
                context.set_trailing_metadata((("x-late", "1"), ("x-late-bin", b"\xff")))
            case [b"raise"]:
                raise RuntimeError("a bug of the application")
            case [b"sleep", seconds]:
                context.add_callback(self.cancelled.set)
                self.released.wait(float(seconds))
            case [b"metadata"]:
                seen = {
                    name: value
                    for name, value in context.invocation_metadata()
                    if name.startswith("q-")
                }
                return repr(sorted(seen.items())).encode()
            case [b"big", size]:
                return b"x" * int(size)
            case [b"pushback", value]:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", value.decode()),))
                context.abort(grpc.StatusCode.UNAVAILABLE, "later")
            case _:
                pass
        return word

    def uu(self, request: bytes, context: Any) -> bytes:
        self.begin(context)
        return self.act(request, context)

    def us(self, request: bytes, context: Any) -> Iterator[bytes]:
        self.begin(context)
        for word in request.split(b","):
            yield self.act(word, context)

    def su(self, requests: Iterator[bytes], context: Any) -> bytes:
        self.begin(context)
        return b",".join([self.act(word, context) for word in requests])

    def ss(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        self.begin(context)
        for word in requests:
            yield self.act(word, context)


def handlers(service: Service) -> Any:
    """Of all four methods; messages are bytes."""
    return GRPC.method_handlers_generic_handler(
        "test.Echo",
        {
            "UU": GRPC.unary_unary_rpc_method_handler(service.uu),
            "US": GRPC.unary_stream_rpc_method_handler(service.us),
            "SU": GRPC.stream_unary_rpc_method_handler(service.su),
            "SS": GRPC.stream_stream_rpc_method_handler(service.ss),
        },
    )


@contextmanager
def serving(service: Service, port: int = 0, **options: Any) -> Generator[int]:
    """A plain server of grpcio; gives its port."""
    server = GRPC.server(ThreadPoolExecutor(32), **options)
    server.add_generic_rpc_handlers((handlers(service),))
    found = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield found
    finally:
        service.released.set()
        server.stop(None).wait()


def eventually(is_so: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it becomes so in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
