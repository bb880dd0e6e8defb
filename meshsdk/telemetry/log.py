"""The hook that logs events on the loggers `meshsdk.<room>`; facts go in `extra`."""

import dataclasses
import logging

from meshsdk.telemetry.events import (
    CallDenied,
    ConfigAcknowledged,
    ConfigReported,
    DecisionAudited,
    DryRunDecided,
    Emit,
    Event,
    HostEjected,
    IdentityChanged,
    PlanPublished,
    ResourceRejected,
    SideCallEnded,
    StreamChanged,
)

_HOOKS = logging.getLogger("meshsdk.telemetry")
_XDS = logging.getLogger("meshsdk.xds")
_IDENTITY = logging.getLogger("meshsdk.identity")
_FLOW = logging.getLogger("meshsdk.flow")


def guarded(emit: Emit) -> Emit:
    """A hook that does not raise: telemetry fails without a word to whoever tells it something."""

    def told(event: Event) -> None:
        try:
            emit(event)
        except Exception:
            _HOOKS.exception("a hook for events failed")

    return told


def to_all(*hooks: Emit) -> Emit:
    """One hook that calls several."""

    def told(event: Event) -> None:
        for hook in hooks:
            hook(event)

    return told


def log(event: Event) -> None:
    """Log one event. Messages are constant but for the words that a person needs to act."""
    if isinstance(event, CallDenied | DecisionAudited | DryRunDecided):
        _log_decision(event)
        return
    extra = {f"meshsdk.{key}": value for key, value in _facts(event).items()}
    match event:
        case PlanPublished():
            _XDS.info("configuration in force", extra=extra)
        case ResourceRejected():
            _XDS.warning("refused %s %s: %s", event.type_url, event.name, event.error, extra=extra)
        case ConfigAcknowledged():
            _XDS.debug("acknowledged", extra=extra)
        case ConfigReported():
            _XDS.warning("%s: %s: %s", event.resource, event.path, event.why, extra=extra)
        case StreamChanged(connected=True):
            _XDS.info("connected to the control plane", extra=extra)
        case StreamChanged():
            told = f"{event.server}: {event.reason}"
            _XDS.warning("control plane stream ended: %s", told, extra=extra)
        case IdentityChanged(state="fresh"):
            _IDENTITY.info("identity in force", extra=extra)
        case IdentityChanged():
            _IDENTITY.warning("identity is %s: %s", event.state, event.reason, extra=extra)
        case HostEjected():
            _FLOW.warning("ejected %s of %s", event.address, event.cluster, extra=extra)
        case SideCallEnded():
            _FLOW.debug("side call", extra=extra)


_DECIDED = {
    CallDenied: "denied",
    DecisionAudited: "audited",
    DryRunDecided: "would be denied",
}


def _log_decision(event: CallDenied | DecisionAudited | DryRunDecided) -> None:
    """One of many: nothing is worked out unless somebody listens."""
    if isinstance(event, DryRunDecided) and event.allowed:
        return
    if not _FLOW.isEnabledFor(logging.DEBUG):
        return
    facts = {f"meshsdk.{key}": value for key, value in _facts(event).items() if key != "why"}
    what = _DECIDED[type(event)]
    record = event.why.record()
    if record is None:
        _FLOW.debug(what, extra=facts)
    else:
        _FLOW.debug("%s: %s", what, record, extra={**facts, "meshsdk.record": record})


def _facts(event: Event) -> dict[str, object]:
    return {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
