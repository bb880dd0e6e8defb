"""What the mesh would do with a request, asked of the very flow of a call."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Deliver, Dial, Effect, Mirror, Send, Sleep
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Reset, Response
from meshsdk.errors import UsageError
from meshsdk.flow.outbound import Source, outbound
from meshsdk.flow.select import Target

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


def explain(source: Source, request: Request | HttpRequest, target: Target | None) -> Explanation:
    """Run the flow up to its first effect that leaves the process; nothing is sent."""
    if not isinstance(request, Request):
        request, target = _asked(request, target)
    if target is None:
        host, _, port = request.authority.partition(":")
        target = Target(host, int(port or 80))
    seen: list[CallContext] = []
    steps: list[tuple[str, str]] = []

    def observe(context: CallContext) -> None:
        context.tracing = lambda step, decided: steps.append((step, decided))
        seen.append(context)

    flow = outbound(source, request, target, wait=0.0, observe=observe)
    try:
        effect = next(flow)
        while isinstance(effect, Mirror | Sleep):
            effect = flow.send(None)
    finally:
        flow.close()
    return _explanation(effect, seen[0] if seen else None, tuple(steps))


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
