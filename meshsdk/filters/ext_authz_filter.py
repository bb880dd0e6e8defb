"""Asking an authorization service about each call, and doing what it says.

Source: Envoy, ExtAuthz::Filter; observed with Envoy 1.40.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from meshsdk.call.context import CallContext
from meshsdk.call.effects import BodyRead, Flow, read_body
from meshsdk.call.filter import Continue, HttpFilter, OnResponse, Step, Verdict
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.filters.ext_authz_answer import (
    ERROR,
    Allowed,
    Answer,
    Refusal,
    are_valid,
    changed,
    refusal_change,
    response_change,
)
from meshsdk.filters.ext_authz_check import Shown
from meshsdk.matching.fraction import ALWAYS, Fraction
from meshsdk.matching.metadata import MetadataMatcher

NAMESPACE: Final = "envoy.filters.http.ext_authz"
FORBIDDEN: Final = 403
_FLAGS: Final = ("UAEX",)
_DENIED: Final = "ext_authz_denied"
_ERROR: Final = "ext_authz_error"
_TOO_LARGE: Final = LocalReply(413, b"Payload Too Large", details="request_payload_too_large")
# What cannot be sent is not sent (THREATS, response splitting): Envoy's validate_mutations, always.
_INVALID: Final = LocalReply(500, flags=_FLAGS, details="ext_authz_invalid")
_EVERYTHING: Final = Shown()
_FAILED_OPEN: Final = ("x-envoy-auth-failure-mode-allowed", "true")


class Authorization(Protocol):
    """A service that can be asked."""

    def ask(
        self,
        request: Request,
        shown: Shown,
        body: BodyRead | None,
        context: CallContext,
        extensions: Mapping[str, str],
    ) -> Flow[Answer]:
        """What it says; an error where it says nothing."""
        ...


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """How much of a request's body is read first."""

    max_request_bytes: int
    allow_partial: bool = False


@dataclass(frozen=True, slots=True)
class ExtAuthz:
    """One config, or what a route made of it."""

    service: Authorization
    shown: Shown = _EVERYTHING
    body: BodyLimit | None = None
    enabled: Fraction = ALWAYS
    enabled_metadata: MetadataMatcher | None = None
    """Nobody is asked unless it matches: how Istio's CUSTOM policies choose calls."""
    denies_disabled: bool = False
    fails_open: bool = False
    tells_failed_open: bool = False
    status_on_error: int = FORBIDDEN
    clears_route: bool = False
    publishes: bool = True
    """Whether the service's dynamic metadata is taken."""
    largest_denial: int = 0
    """Octets of a denial's body; 0: all of them."""
    is_shadow: bool = False
    skips_unrouted: bool = False
    """As Envoy: nobody is asked about a request without route, though a later filter may find one."""
    extensions: Mapping[str, str] = field(default_factory=dict[str, str])

    def on_request(self, request: Request, context: CallContext) -> Step:
        """Ask, where this call is to be asked about."""
        if self.skips_unrouted and context.route is None and context.route_metadata is None:
            return Continue(request)
        matcher = self.enabled_metadata
        if (matcher is not None and not matcher.matches(context.dynamic_metadata)) or (
            not self.enabled.samples(context.random)
        ):
            return self._error() if self.denies_disabled else Continue(request)
        return self._asked(request, context)

    def _asked(self, request: Request, context: CallContext) -> Flow[Verdict]:
        body: BodyRead | None = None
        limit = self.body
        if limit is not None and request.has_body and "upgrade" not in request.headers:
            body = yield from read_body(limit.max_request_bytes)
            if not body.complete and not limit.allow_partial:
                return _TOO_LARGE
        began = context.clock.monotonic()
        answer = yield from self.service.ask(request, self.shown, body, context, self.extensions)
        if answer.metadata and self.publishes:
            for key, value in answer.metadata.items():
                context.metadata(NAMESPACE, key, value)
            if isinstance(answer, Allowed):
                elapsed = context.clock.monotonic() - began
                context.metadata(NAMESPACE, "ext_authz_duration", int(elapsed * 1000))
        if self.is_shadow:
            return Continue(request)
        return self._verdict(answer, request)

    def _verdict(self, answer: Answer, request: Request) -> Verdict:
        if isinstance(answer, Allowed):
            if not answer.is_valid:
                return _INVALID
            reroute = self.clears_route and answer.changes_request
            return Continue(changed(request, answer), _on_response(answer), reroute)
        if answer.is_error and self.fails_open:
            if self.tells_failed_open:
                request = request.with_headers(request.headers.set(*_FAILED_OPEN))
            return Continue(request)
        if not are_valid(answer.headers):
            return _INVALID
        return self._error(answer) if answer.is_error else self._denial(answer)

    def _denial(self, refusal: Refusal) -> LocalReply:
        body = refusal.body[: self.largest_denial] if self.largest_denial else refusal.body
        return LocalReply(
            refusal.status or FORBIDDEN,
            body,
            flags=_FLAGS,
            details=_DENIED,
            modify=refusal_change(refusal.headers),
        )

    def _error(self, refusal: Refusal | None = None) -> LocalReply:
        found = refusal or ERROR
        return LocalReply(
            found.status or self.status_on_error,
            found.body,
            flags=_FLAGS,
            details=_ERROR,
            modify=refusal_change(found.headers),
        )


def _on_response(allowed: Allowed) -> OnResponse | None:
    change = response_change(allowed)
    if change is None:
        return None

    def on_response(response: Response, context: CallContext) -> Response:
        del context
        return response.with_headers(change(response.headers))

    return on_response


@dataclass(frozen=True, slots=True)
class Disabled:
    """A level switched the check off; a more specific one may switch it on again."""

    base: ExtAuthz

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        """Nobody is asked."""
        del context
        return Continue(request)


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """What a level changes."""

    extensions: Mapping[str, str]
    service: Authorization | None = None
    body: BodyLimit | None = None
    reads_no_body: bool = False

    def applied(self, base: ExtAuthz) -> ExtAuthz:
        """The filter on that level; extensions of less specific levels stay."""
        body = None if self.reads_no_body else self.body or base.body
        return replace(
            base,
            service=self.service or base.service,
            body=body,
            extensions={**base.extensions, **self.extensions},
        )


def overridden(running: HttpFilter, settings: CheckSettings | None) -> HttpFilter:
    """The filter under one level's settings; None: switched off."""
    base = running.base if isinstance(running, Disabled) else running
    if not isinstance(base, ExtAuthz):
        return running
    return Disabled(base) if settings is None else settings.applied(base)
