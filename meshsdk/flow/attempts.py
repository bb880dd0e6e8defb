"""What goes out: the request of each attempt, its time limits, and what comes back of our own."""

from meshsdk.call.effects import Attempt, Send
from meshsdk.call.endpoint import Host
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.flow import reply
from meshsdk.flow.local_reply import answer
from meshsdk.flow.routed_call import Call
from meshsdk.resilience import deadline
from meshsdk.resilience.retry import CONSUMED_HEADERS

_CONSUMED = (*CONSUMED_HEADERS, *deadline.CONSUMED_HEADERS)
_ANY_CONSUMED = frozenset((*_CONSUMED, "grpc-timeout", deadline.EXPECTED_TIMEOUT))
_REMEMBERED = 4096
"""Routes whose bounds are known; one plan seldom has as many."""
_IS_TIMEOUT_RETRY = "x-envoy-is-timeout-retry"
_ATTEMPT_COUNT = "x-envoy-attempt-count"


def prepare(call: Call) -> float | None:
    """Work out everything that is the same for all attempts.

    Seconds after which an attempt that has not answered gets company; None: no hedging.
    """
    context, chosen, request = call.context, call.chosen, call.request
    assert call.cluster is not None
    call.breakers = call.cluster.breakers.of(chosen.priority)
    headers = request.headers
    told = headers.has_any(_ANY_CONSUMED) or reply.is_grpc(context.original or request)
    call.timeouts, duration = _bounds(call, request) if told else _usual_bounds(call, request)
    if chosen.hash_policies:
        call.hash_key = chosen.hash(request, context)
    inherited = context.deadline is not None and _inherit(call, context.deadline)
    if call.timeouts.total is not None:
        call.deadline = context.deadline = call.started + call.timeouts.total
    if duration.limit is not None:
        call.duration_ends = context.start + duration.limit
    request = call.original = chosen.finalize(request, context)
    if told:
        headers = request.headers.without(*_CONSUMED)
        if duration.grpc_timeout is not None:
            headers = headers.without("grpc-timeout")
        if duration.grpc_timeout:
            headers = headers.add("grpc-timeout", duration.grpc_timeout)
        request = request.with_headers(headers)
    if inherited:
        request = _with_less_time(request, call)
    call.request = request
    return call.timeouts.patience


def _inherit(call: Call, ends: float) -> bool:
    """End the call with the request that it is made for; whether that is sooner than it would."""
    assert call.timeouts is not None
    left, total = max(0.0, ends - call.started), call.timeouts.total
    if total is not None and total <= left:
        return False
    usual = call.timeouts
    call.timeouts = deadline.Timeouts(
        left,
        usual.per_try,
        usual.per_try_idle,
        usual.rewrites_grpc_timeout,
        usual.hedges,
        usual.patience,
    )
    call.ends_early = True
    return True


def _with_less_time(request: Request, call: Call) -> Request:
    """A gRPC request that names no more time than it has."""
    assert call.timeouts is not None and call.timeouts.total is not None
    if not reply.is_grpc(request):
        return request
    asked, left = deadline.grpc_timeout(request), call.timeouts.total
    if asked is not None and asked <= left:
        return request
    told = deadline.format_grpc_timeout(max(left, 0.001))
    return request.with_headers(request.headers.set("grpc-timeout", told))


_Bounds = tuple[deadline.Timeouts, deadline.Duration]


def _bounds(call: Call, request: Request) -> _Bounds:
    chosen = call.chosen
    return (
        deadline.resolve(
            chosen,
            chosen.retry_policy,
            request,
            hedging=deadline.hedges(chosen.hedge_policy, request),
            respect_expected=call.settings.respect_expected_rq_timeout,
        ),
        # The connection manager's part: before any filter.
        deadline.stream_duration(
            chosen.max_stream_duration, call.context.original or request, call.stream_duration
        ),
    )


def _usual_bounds(call: Call, request: Request) -> _Bounds:
    """The bounds of a request that says nothing of time: the route's own, worked out once."""
    usual, key = call.bounds, call.chosen.bounds_key
    known = usual.get(key)
    if known is None:
        if len(usual) >= _REMEMBERED:
            usual.clear()
        known = usual[key] = _bounds(call, request)
    return known


def first_bound(call: Call) -> tuple[float | None, bool]:
    """Seconds that an attempt has at most; and whether that is the stream's idle timeout."""
    remaining, idle = call.remaining(), call.idle
    if idle is not None and (remaining is None or idle < remaining):
        return idle, True
    return (0.0 if remaining is not None and remaining < 0.0 else remaining), False


def bounded_send(call: Call, attempt: Attempt) -> tuple[Send, bool]:
    """The attempt with the first of its bounds; and whether that is the stream's idle timeout."""
    assert call.timeouts is not None
    bound, is_idle = first_bound(call)
    per_try = call.timeouts.per_try
    is_per_try = per_try is not None and (bound is None or per_try < bound)
    timeout = per_try if is_per_try else bound
    return Send(attempt, timeout, call.timeouts.per_try_idle, is_per_try), is_idle


def new_attempt(call: Call, host: Host) -> Attempt | None:
    """The next attempt, counted in; None when the circuit breaker is open."""
    context = call.context
    call.number += 1
    context.host = host
    context.attempts = call.number
    call.tried.append(host)
    if not call.take(host):
        return None
    request = _for_this_try(call, host)
    attempt = Attempt(
        request, host, call.cluster, call.number, context.original, call.chosen.priority
    )
    context.attempt = attempt
    return attempt


def _for_this_try(call: Call, host: Host) -> Request:
    """The request as it goes to this host now."""
    request, chosen = call.request, call.chosen
    assert call.timeouts is not None
    headers = request.headers
    if not call.settings.suppress_envoy_headers:
        headers = call.timeouts.tell(headers, call.context.clock.monotonic() - call.started)
        if chosen.include_request_attempt_count:
            headers = headers.set(_ATTEMPT_COUNT, str(call.number))
        if chosen.include_is_timeout_retry_header and call.number > 1:
            headers = headers.set(_IS_TIMEOUT_RETRY, "true" if call.timed_out else "false")
    if headers is not request.headers:
        request = request.with_headers(headers)
    if chosen.auto_host_rewrite and host.endpoint.hostname:
        request = chosen.host_of_endpoint(request, host.endpoint.hostname, call.context)
    return request


def counted(call: Call, response: Response) -> Response:
    """The response, with the number of attempts where the virtual host says so."""
    if not call.number or not call.chosen.include_attempt_count_in_response:
        return response
    return response.with_headers(response.headers.set(_ATTEMPT_COUNT, str(call.number)))


def own_answer(call: Call, local: LocalReply) -> Response:
    """An answer of the mesh itself."""
    mutate, replies = call.chosen.on_reply, call.local_replies
    return counted(call, answer(local, call.request, call.context, replies, mutate))
