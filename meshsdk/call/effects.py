"""What a flow asks for. The adapter of the caller's library performs it and sends the reply."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import field
from typing import Literal, TypeAlias, TypeVar

from meshsdk.call.endpoint import Host
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, Outcome, Request, Reset, Response
from meshsdk.call.serving import Serving
from meshsdk.call.value import unique, value

T = TypeVar("T")


@unique
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


@value
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
    keep_after: float | None = None
    """Hedging: seconds after which the reply is a Reset that says `still_running` while the attempt
    goes on; for one that has just begun not before its request was sent. None: never."""
    also: tuple[Attempt, ...] = ()
    """Attempts that still run; `attempt` may be one too. The first reply counts, and what the next
    effect does not name is reset."""


@value
class Dial:
    """A raw connection to a host; reply: `Dialed` or `Reset`."""

    host: Host
    cluster: object
    timeout: float | None = None


@value
class Dialed:
    """A raw connection; `stream` belongs to the adapter."""

    stream: object
    host: Host


@value
class Sleep:
    """Wait; reply: None."""

    seconds: float


@value
class Fetch:
    """A side call through the mesh to a cluster (ext_authz, JWKS, rate limit); reply: `Fetched` or
    `Reset`."""

    cluster: str
    request: Request
    body: bytes = b""
    timeout: float | None = None
    max_bytes: int = 1 << 20
    done: "Callable[[Fetched | Reset], None] | None" = None
    """Set: nobody waits. The reply is None at once, and the answer goes here on another thread."""


@value
class Fetched:
    """A side call's whole answer."""

    response: Response
    body: bytes
    trailers: Headers | None = None


@value
class GrpcFetch:
    """A unary gRPC call as a side call; reply: `GrpcFetched`, or `Reset` where none came."""

    cluster: str
    service: str
    """`envoy.service.auth.v3.Authorization`."""
    method: str
    message: Mapping[str, object]
    """Proto-JSON, as `config/reader.py` reads it."""
    timeout: float | None = None
    authority: str = ""
    """Empty: the cluster's name, as Envoy sends it."""
    metadata: tuple[tuple[str, str], ...] = ()


@value
class GrpcFetched:
    """How a unary call ended."""

    status: int
    """The gRPC status; 0 is OK."""
    message: Mapping[str, object]
    """The answer in proto-JSON; empty unless OK."""
    detail: str = ""


@value
class ReadBody:
    """Buffer the request body and keep it for replay; reply: `BodyRead`."""

    limit: int


@value
class BodyRead:
    """At most `limit` bytes of the request body; `complete` tells whether that is all of it."""

    data: bytes
    complete: bool


@value
class Mirror:
    """Send and forget; reply: None at once."""

    attempt: Attempt
    timeout: float | None = None


@value
class CallApp:
    """Let the application answer; reply: `Response`."""

    request: Request
    serving: Serving | None = field(default=None, compare=False)
    """What the adapter enters (`enter_serving`) while the application runs."""
    context: object = field(default=None, compare=False)
    """The call's `CallContext`: what the application may ask of it."""


@value
class WaitForConfig:
    """Park until the plan changes or `timeout` seconds passed; reply: True when it changed."""

    what: str
    """For people: what is missing."""
    timeout: float
    listener: str = ""
    """A listener to subscribe to by name, where the control plane sends them on demand."""


@value
class Deliver:
    """Hand the outcome to the caller; resumed with `BodyEnd` when its body ends.

    A `Dialed` is handed over as it is: the adapter lets the application's own protocol run on it.
    """

    outcome: Outcome | Dialed


Effect: TypeAlias = (
    Send | Dial | Sleep | Fetch | GrpcFetch | ReadBody | Mirror | CallApp | WaitForConfig | Deliver
)
SideCall: TypeAlias = Fetch | GrpcFetch
Reply: TypeAlias = Outcome | Dialed | Fetched | GrpcFetched | BodyRead | BodyEnd | bool | None
Flow: TypeAlias = Generator[Effect, Reply, T]


def sleep(seconds: float) -> Flow[None]:
    """`yield from sleep(s)`: the typed form of Sleep."""
    yield Sleep(seconds)


def read_body(limit: int) -> Flow[BodyRead]:
    """`yield from read_body(n)`: the typed form of ReadBody."""
    reply = yield ReadBody(limit)
    assert isinstance(reply, BodyRead)
    return reply
