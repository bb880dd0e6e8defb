"""What the pool and the exchange know of a connection, whichever colour its socket has."""

import math
from typing import Protocol, TypeAlias

from meshsdk.upstream.http1 import Http1
from meshsdk.upstream.http2 import Http2
from meshsdk.upstream.tls import Layer

Http: TypeAlias = Http1 | Http2


class Connection(Protocol):
    """An open connection. Reading, writing and waiting are its driver's business."""

    @property
    def http(self) -> Http:
        """The protocol on it."""
        ...

    @property
    def layer(self) -> Layer | None:
        """TLS on it; None: plaintext."""
        ...

    @property
    def lease(self) -> "Lease":
        """The pool's notes on it."""
        ...

    def is_alive(self) -> bool:
        """Whether an idle connection can take a request: open, and nothing came unasked."""
        ...

    def close(self) -> None:
        """Close at once, also with octets in flight. Again is harmless."""
        ...


class Lease:
    """The pool's notes on one connection."""

    __slots__ = ("generation", "idle_until", "is_open", "requests", "retire_at")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.requests = 0
        """Requests begun on it."""
        self.retire_at = math.inf
        """Monotonic seconds after which it takes no further request."""
        self.idle_until = math.inf
        """Monotonic seconds until which it may stay idle."""
        self.is_open = True
        """Counted in."""
