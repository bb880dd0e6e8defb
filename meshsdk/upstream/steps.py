"""What an attempt asks its driver for, and what an attempt is told.

An attempt is decided once for all colours, as a generator that asks for each wait. A driver
performs a step, sends its result back, and throws what the I/O raised *into* the generator:
OSError (TimeoutError too) is data there, everything else goes through and closes the connection
on its way.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from meshsdk.call.message import Reset, ResetReason
from meshsdk.clock import Clock
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.connection import Connection
from meshsdk.upstream.head import Head
from meshsdk.upstream.pool import HostPool
from meshsdk.upstream.timeouts import CallerTimeouts

C = TypeVar("C", bound=Connection)
R = TypeVar("R")


@dataclass(slots=True)
class Connect(Generic[C]):
    """Open a connection and verify the peer; result: the connection."""

    pool: HostPool[C]
    timeout: float | None


@dataclass(slots=True)
class Park(Generic[C]):
    """Wait until the pool wakes us; result: None. `first`: we have waited already."""

    pool: HostPool[C]
    timeout: float | None
    first: bool


class NotSentError(ConnectionError):
    """A write failed before any octet of the request left this machine."""


@dataclass(slots=True)
class Write(Generic[C]):
    """Send octets, waiting while the socket takes no more; result: None.

    `watch`: also let in what the peer has sent meanwhile.
    """

    connection: C
    data: bytes
    timeout: float | None
    watch: bool = False


@dataclass(slots=True)
class Receive(Generic[C]):
    """Wait until something came and feed it to the connection; result: None."""

    connection: C
    timeout: float | None


@dataclass(slots=True)
class Pull:
    """The application's next piece of body; result: bytes, or None at its end."""

    body: RequestBody


Step: TypeAlias = Connect[C] | Park[C] | Write[C] | Receive[C] | Pull
Result: TypeAlias = C | bytes | None
Steps: TypeAlias = Generator[Step[C], Result[C], R]


@dataclass(slots=True, eq=False)
class Ask(Generic[C]):
    """What an attempt needs to know; the same for every colour."""

    pool: HostPool[C]
    method: str
    head: Head
    body: RequestBody
    timeouts: CallerTimeouts
    clock: Clock
    generation: int
    timeout: float | None = None
    """Seconds until the head of the response, from the end of the request; None: unbounded."""
    idle_timeout: float | None = None
    timeout_reason: ResetReason = ResetReason.PER_TRY_TIMEOUT
    is_verbatim: bool = False
    """The mesh passes through: 101 is the application's business."""
    attempt: object = None
    deadline: float | None = None
    """Monotonic seconds at which `timeout` has passed; set when the attempt begins."""

    def start_clock(self) -> None:
        """`timeout` counts from now on."""
        if self.timeout is not None:
            self.deadline = self.clock.monotonic() + self.timeout

    def reset(
        self,
        reason: ResetReason,
        detail: str = "",
        *,
        request_sent: bool = True,
        error: BaseException | None = None,
    ) -> Reset:
        """This attempt brought no response."""
        return Reset(reason, detail, request_sent=request_sent, attempt=self.attempt, error=error)
