"""What the mesh would do with a request, asked of the very flow of a call."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import urlsplit

from meshsdk.call.address import host_of
from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.decision_record import SHOWN, DecisionRecord
from meshsdk.call.effects import (
    BodyRead,
    Deliver,
    Dial,
    Effect,
    Fetch,
    Flow,
    GrpcFetch,
    Mirror,
    ReadBody,
    Send,
    Sleep,
)
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Reset, Response
from meshsdk.errors import UsageError
from meshsdk.flow import tell
from meshsdk.flow.inbound import inbound
from meshsdk.flow.outbound import Source, outbound
from meshsdk.flow.select import Target
from meshsdk.telemetry import silent

_PORTS = {"http": 80, "https": 443}


class HttpRequest(Protocol):
    """A request of an HTTP client library."""

    @property
    def method(self) -> str: ...
    @property
    def url(self) -> object: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the mesh would do with a request, and why; nothing was sent."""

    listener: str
    filter_chain: str
    route: str
    cluster: str
    endpoint: str
    status: int | None
    """Of the mesh's own answer; None when the request would go to `endpoint`."""
    details: str
    flags: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    """(filter, what it decided), in order."""
    decisions: tuple[DecisionRecord, ...] = ()
    """Why policies denied it, and what dry runs made of it."""


def explain(source: Source, request: Request | HttpRequest, target: Target | None) -> Explanation:
    """Run the flow up to its first effect that leaves the process; nothing is sent."""
    if not isinstance(request, Request):
        request, target = _asked(request, target)
    if target is None:
        target = _target_of(request.authority)
    seen: list[CallContext] = []
    steps: list[tuple[str, str]] = []

    def observe(context: CallContext) -> None:
        context.tracing = lambda step, decided: steps.append((step, decided))
        seen.append(context)

    flow = outbound(source, request, target, wait=0.0, observe=observe)
    try:
        effect = _leaving(flow)
    finally:
        flow.close()
    found = _explanation(effect, seen[0] if seen else None, tuple(steps))
    plan = source.plan()
    if not seen or plan is None or not seen[0].judgements:
        return found
    return replace(found, decisions=_decisions(seen[0], plan.version, request, source))


def explain_inbound(
    source: Source, request: Request | HttpRequest, connection: Connection
) -> Explanation:
    """The same for a request that comes in; the application does not run."""
    if not isinstance(request, Request):
        request, _ = _asked(request, None)
    seen: list[CallContext] = []
    steps: list[tuple[str, str]] = []

    def observe(context: CallContext) -> None:
        context.tracing = lambda step, decided: steps.append((step, decided))
        seen.append(context)

    # Nobody is told: this is no request that came.
    quiet = replace(source, live=replace(source.live, emit=silent))
    flow = inbound(quiet, request, connection, observe)
    try:
        effect = _leaving(flow)
    finally:
        flow.close()
    plan = source.plan()
    version = 0 if plan is None else plan.version
    found = _explanation(effect, seen[0], tuple(steps))
    return replace(found, decisions=_decisions(seen[0], version, request, source))


def _leaving(flow: Flow[None]) -> Effect:
    """The first effect that leaves the process; of a body nothing is known."""
    effect = next(flow)
    while isinstance(effect, Mirror | Sleep | ReadBody):
        effect = flow.send(BodyRead(b"", complete=True) if isinstance(effect, ReadBody) else None)
    return effect


def _decisions(
    context: CallContext, version: int, request: Request, source: Source
) -> tuple[DecisionRecord, ...]:
    budget = source.live.records
    shown = SHOWN if budget is None else budget.shown
    seen = context.forwarded or request
    request_id = seen.headers.get("x-request-id") or ""
    return tuple(
        tell.explain(judgement, version, request_id)(shown) for judgement in context.judgements
    )


def _asked(asked: HttpRequest, target: Target | None) -> tuple[Request, Target]:
    url = urlsplit(str(asked.url))
    if url.scheme not in _PORTS or url.hostname is None:
        raise UsageError(f"expected a URL with http:// or https://, found {str(asked.url)!r}")
    headers = Headers.of((name, value) for name, value in asked.headers.items())
    path = url.path or "/"
    request = Request(
        asked.method,
        headers.get("host") or url.netloc,
        f"{path}?{url.query}" if url.query else path,
        headers.without("host"),
        url.scheme,
    )
    port = url.port or _PORTS[url.scheme]
    return request, target or Target(url.hostname, port, url.scheme == "https", url.hostname)


def _target_of(authority: str) -> Target:
    port = authority.rpartition("]")[2].partition(":")[2] or "80"
    if not port.isdecimal():
        raise UsageError(f"expected a host and maybe a port, found {authority!r}")
    return Target(host_of(authority), int(port))


def _explanation(
    effect: Effect, context: CallContext | None, steps: tuple[tuple[str, str], ...]
) -> Explanation:
    outcome = effect.outcome if isinstance(effect, Deliver) else None
    status = outcome.status if isinstance(outcome, Response) else None
    if context is None:
        detail = outcome.detail if isinstance(outcome, Reset) else "no configuration yet"
        return Explanation("", "", "", "", "", status, detail, (), steps)
    host = context.host if isinstance(effect, Send | Dial) else None
    details = outcome.detail if isinstance(outcome, Reset) else context.details
    if isinstance(effect, Fetch | GrpcFetch):
        details = f"asks cluster {effect.cluster}, which decides"
    return Explanation(
        context.listener,
        context.filter_chain,
        context.route_name,
        context.cluster,
        "" if host is None else str(host.endpoint.address),
        status,
        details,
        tuple(context.flags),
        steps,
    )
