"""What the flow tells hooks about decisions by policy."""

from collections.abc import Callable
from dataclasses import replace

from meshsdk.call.context import CallContext
from meshsdk.call.decision_record import DecisionRecord, Judgement, Shown
from meshsdk.call.message import Request
from meshsdk.flow.cluster_plan import LiveState
from meshsdk.telemetry.events import CallDenied, DecisionAudited, DryRunDecided
from meshsdk.telemetry.why import UNEXPLAINED, Why


def denied(
    live: LiveState,
    version: int,
    request: Request,
    context: CallContext,
    status: int,
    details: str,
) -> None:
    """A filter refused a request."""
    peer = context.connection.peer
    judgement = next(
        (j for j in reversed(context.judgements) if not j.is_dry_run and not j.allowed), None
    )
    request_id = _request_id(request, context)
    live.emit(
        CallDenied(
            "inbound",
            request.method,
            request.path.partition("?")[0],
            status,
            details,
            "" if peer.spiffe_id is None else str(peer.spiffe_id),
            context.listener,
            request_id,
            version,
            UNEXPLAINED
            if judgement is None
            else Why(explain(judgement, version, request_id), live.records),
        )
    )


def judgements(live: LiveState, version: int, request: Request, context: CallContext) -> None:
    """What shadow rules made of a request, and what policies want recorded."""
    for judgement in context.judgements:
        if judgement.is_audited:
            live.emit(_audited(live, judgement, version, request, context))
        if judgement.is_dry_run:
            request_id = _request_id(request, context)
            live.emit(
                DryRunDecided(
                    context.listener,
                    context.filter_chain,
                    judgement.filter,
                    judgement.statistics,
                    judgement.allowed,
                    judgement.policy,
                    version,
                    request_id,
                    Why(explain(judgement, version, request_id), live.records),
                )
            )


def _audited(
    live: LiveState, judgement: Judgement, version: int, request: Request, context: CallContext
) -> DecisionAudited:
    peer = context.connection.peer
    request_id = _request_id(request, context)
    return DecisionAudited(
        context.listener,
        judgement.filter,
        judgement.policy,
        judgement.allowed,
        request.method,
        request.path.partition("?")[0],
        "" if peer.spiffe_id is None else str(peer.spiffe_id),
        version,
        request_id,
        Why(explain(judgement, version, request_id), live.records),
    )


def explain(
    judgement: Judgement, version: int, request_id: str
) -> Callable[[Shown], DecisionRecord]:
    """A judgement's record with what the filter does not know."""
    return lambda shown: replace(
        judgement.explain(shown), config_version=version, request_id=request_id
    )


def _request_id(request: Request, context: CallContext) -> str:
    """The one that the connection manager made or kept."""
    seen = context.forwarded or request
    return seen.headers.get("x-request-id") or request.headers.get("x-request-id") or ""
