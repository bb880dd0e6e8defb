"""The one mutable thing of a call: what filters and the flow learn on the way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from meshsdk.call.address import UNKNOWN, Address
from meshsdk.call.connection import Connection
from meshsdk.call.decision_record import Judgement
from meshsdk.call.effects import Attempt
from meshsdk.call.endpoint import Host
from meshsdk.call.message import BodyEnd, Request
from meshsdk.clock import Clock, Random


@dataclass(slots=True, eq=False)
class CallContext:
    """Facts of one call, written by the flow and its filters, read by telemetry."""

    clock: Clock
    random: Random
    connection: Connection
    """Of the caller: for an inbound call its real connection, for an outbound one a local stand-in."""
    is_inbound: bool = False
    start: float = 0.0
    """Monotonic seconds."""
    deadline: float | None = None
    """Monotonic seconds after which nobody waits for the answer; None: unbounded."""
    remote: Address = UNKNOWN
    """`remote_ip`: the client after X-Forwarded-For was judged."""
    destination: Address = UNKNOWN
    """What the application asked to dial: where ORIGINAL_DST clusters go."""
    is_internal: bool = False
    """Whether `x-envoy-*` request headers of the caller are honoured."""
    original: Request | None = None
    """The request as the application made it, before any rewrite."""
    forwarded: Request | None = None
    """The request as its route rewrote it: what %REQ()% in response headers reads."""
    draw: int | None = None
    """This call's chance in [0, 2**53): a route that is matched again comes out the same."""

    dynamic_metadata: dict[str, dict[str, object]] = field(default_factory=lambda: {})
    filter_state: dict[str, str] = field(default_factory=lambda: {})
    route_metadata: Mapping[str, Mapping[str, object]] | None = None
    """Of the matched route, by namespace."""
    route: object = None
    """What filters read of a route that leads somewhere (`resources.route_facts.RouteFacts`); None
    where there is no route or it answers itself."""
    ignore_path_parameters: bool = False
    """The route configuration's ignore_path_parameters_in_path_matching: policies match as it does."""
    can_pace: bool = False
    """Whether the adapter honours `response_rate`; where it does not, such a fault is refused."""
    response_rate: int = 0
    """KiB of the response body that may pass in a second (fault injection); 0: unbounded."""
    body_replayable: bool = True
    """The adapter clears it when the request body outgrew its replay buffer."""

    flags: list[str] = field(default_factory=lambda: [])
    """Envoy response flags in the order in which they were set."""
    details: str = ""
    """%RESPONSE_CODE_DETAILS%; empty means via_upstream."""
    local_status: int | None = None
    """%RESPONSE_CODE% of a local reply, whatever form it takes for gRPC; None: there was none."""
    listener: str = ""
    filter_chain: str = ""
    virtual_host: str = ""
    route_name: str = ""
    virtual_cluster: str = ""
    cluster: str = ""
    """The cluster that was chosen, reached or not."""
    cluster_is_missing: bool = False
    """There is no cluster of that name (flag NC)."""
    override_host: str = ""
    """`ip:port` of the host that a filter asks for (a sticky session); empty: none."""
    override_is_strict: bool = False
    """No other host will do."""
    override_missing_status: int = 503
    """The answer then."""
    host: Host | None = None
    """Of the last attempt."""
    attempts: int = 0
    """Requests that reached an upstream."""
    attempt: Attempt | None = None
    claims: tuple[Mapping[str, object], ...] = ()
    """Payloads of the tokens that were found good, in the order in which they were judged."""
    judgements: tuple[Judgement, ...] = ()
    """Denials by policy and results of dry runs, in order: what records are made from."""
    tracing: Callable[[str, str], None] | None = None
    """`explain`'s recording hook: (step, what was decided)."""
    at_end: list[Callable[[BodyEnd | None], None]] = field(default_factory=lambda: [])
    """Called once when the call is over; with None when its body's end was never reached."""

    def end(self, end: BodyEnd | None) -> None:
        """The call is over."""
        waiting, self.at_end = self.at_end, []
        for tell in waiting:
            tell(end)

    def flag(self, flag: str) -> None:
        """Set a response flag once."""
        if flag not in self.flags:
            self.flags.append(flag)

    def metadata(self, namespace: str, key: str, value: object) -> None:
        """Publish dynamic metadata, as `setDynamicMetadata` does."""
        self.dynamic_metadata.setdefault(namespace, {})[key] = value
