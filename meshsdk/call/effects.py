"""What a flow asks for. The adapter of the caller's library performs it and sends the reply."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from meshsdk.call.endpoint import Host
from meshsdk.call.message import BodyEnd, Outcome, Request, Response

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One try of one request at one host."""

    request: Request
    """With every header that goes on the wire; pseudo headers in its own fields."""
    host: Host
    cluster: object
    """The plan's compiled cluster (`flow.plan.ClusterPlan`): timeouts, limits, protocol, pool key."""
    number: int = 1
    original: Request | None = None
    priority: Literal["DEFAULT", "HIGH"] = "DEFAULT"
    """The route's: each priority has connections and limits of its own."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send one attempt; reply: `Response` or `Reset` when headers came, or why not.

    The next effect disposes of a response that was not delivered.
    """

    attempt: Attempt
    timeout: float | None = None
    """Seconds until the response headers; None: unbounded."""
    idle_timeout: float | None = None
    """Seconds without any byte (per_try_idle_timeout); None: unbounded."""
    reset_reason_timeout: bool = True
    """True: running out is PER_TRY_TIMEOUT; False: it is the route's TIMEOUT."""
    keep: bool = False
    """Running out leaves the attempt running (hedging); the reply says `still_running`."""
    also: tuple[Attempt, ...] = ()
    """Attempts that still run; the first reply wins, the others are reset."""


@dataclass(frozen=True, slots=True)
class Dial:
    """A raw connection to a host; reply: `Dialed` or `Reset`."""

    host: Host
    cluster: object
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Dialed:
    """A raw connection; `stream` belongs to the adapter."""

    stream: object
    host: Host


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait; reply: None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fetch:
    """A side call through the mesh to a cluster (ext_authz, JWKS, rate limit); reply: `Fetched` or
    `Reset`."""

    cluster: str
    request: Request
    body: bytes = b""
    timeout: float | None = None
    max_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Fetched:
    """A side call's whole answer."""

    response: Response
    body: bytes


@dataclass(frozen=True, slots=True)
class ReadBody:
    """Buffer the request body and keep it for replay; reply: `BodyRead`."""

    limit: int


@dataclass(frozen=True, slots=True)
class BodyRead:
    """At most `limit` bytes of the request body; `complete` tells whether that is all of it."""

    data: bytes
    complete: bool


@dataclass(frozen=True, slots=True)
class Mirror:
    """Send and forget; reply: None at once."""

    attempt: Attempt
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class CallApp:
    """Let the application answer; reply: `Response`."""

    request: Request


@dataclass(frozen=True, slots=True)
class WaitForConfig:
    """Park until the plan changes or `timeout` seconds passed; reply: True when it changed."""

    what: str
    """For people: what is missing."""
    timeout: float
    listener: str = ""
    """A listener to subscribe to by name, where the control plane sends them on demand."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand the outcome to the caller; resumed with `BodyEnd` when its body ends.

    A `Dialed` is handed over as it is: the adapter lets the application's own protocol run on it.
    """

    outcome: Outcome | Dialed


Effect: TypeAlias = (
    Send | Dial | Sleep | Fetch | ReadBody | Mirror | CallApp | WaitForConfig | Deliver
)
Reply: TypeAlias = Outcome | Dialed | Fetched | BodyRead | BodyEnd | bool | None
Flow: TypeAlias = Generator[Effect, Reply, T]


def sleep(seconds: float) -> Flow[None]:
    """`yield from sleep(s)`: the typed form of Sleep."""
    yield Sleep(seconds)


def read_body(limit: int) -> Flow[BodyRead]:
    """`yield from read_body(n)`: the typed form of ReadBody."""
    reply = yield ReadBody(limit)
    assert isinstance(reply, BodyRead)
    return reply
