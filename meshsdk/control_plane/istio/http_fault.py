"""Faults and mirrors of a VirtualService's rule, which both speak of percentages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.control_plane.istio.http_actions import (
    DESTINATION,
    Destination,
    parse_destination,
    positive,
)
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

FAULT: Final = fields("delay", "abort")
_DELAY: Final = fields(
    "fixedDelay", "percentage", "percent",
    refused={"exponentialDelay": "istiod does not build it either"},
)  # fmt: skip
_ABORT: Final = fields(
    "httpStatus", "grpcStatus", "percentage",
    refused={"http2Error": "istiod does not build it either"},
)  # fmt: skip
_MIRROR: Final = fields("destination", "percentage")
_PERCENT: Final = fields("value")
_GRPC: Final[Mapping[str, int]] = {
    name: number
    for number, name in enumerate(
        (
            "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
            "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
            "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
            "UNAUTHENTICATED",
        )
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Share:
    """Some of all requests, as Envoy counts: `numerator` of 100, or of a million."""

    numerator: int
    is_million: bool = True


@dataclass(frozen=True, slots=True)
class Delay:
    """Some wait."""

    seconds: float
    share: Share


@dataclass(frozen=True, slots=True)
class Abort:
    """Some are answered at once."""

    share: Share | None
    http_status: int | None = None
    grpc_status: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """HTTPFaultInjection."""

    delay: Delay | None = None
    abort: Abort | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of some requests, whose answer nobody reads."""

    destination: Destination
    share: Share


def parse_fault(reader: SpecReader) -> Fault:
    """At least one of both. Without a percentage neither ever fires: as istiod sends it."""
    delay, abort = reader.message("delay", _DELAY), reader.message("abort", _ABORT)
    if delay is None and abort is None:
        raise reader.error("expected delay or abort, found none")
    return Fault(None if delay is None else _delay(delay), None if abort is None else _abort(abort))


def _delay(reader: SpecReader) -> Delay:
    seconds = positive(reader, "fixedDelay")
    if seconds is None:
        raise reader.error("expected fixedDelay, found none")
    share = parse_share(reader, "percentage")
    if share is None:
        if not reader.has("percent"):
            reader.note_at("percentage", "is unset, so the delay never fires")
        return Delay(seconds, Share(reader.integer("percent", 0, at_least=0, at_most=100), False))
    return Delay(seconds, share)


def _abort(reader: SpecReader) -> Abort:
    kind = reader.required("httpStatus", "grpcStatus")
    share = parse_share(reader, "percentage")
    if share is None:
        reader.note_at("percentage", "is unset, so the abort never fires")
    if kind == "grpcStatus":
        return Abort(share, None, reader.enum("grpcStatus", _GRPC, "OK"))
    return Abort(share, reader.integer("httpStatus", at_least=200, at_most=599))


def parse_mirrors(reader: SpecReader, namespace: str) -> tuple[Mirror, ...]:
    """`mirror` with its percentage, or `mirrors`; of 0 % none."""
    if reader.has("mirror") and reader.has("mirrors"):
        raise reader.error_at("mirrors", "expected mirror or mirrors, found both")
    found: list[Mirror | None] = []
    single = reader.message("mirror", DESTINATION)
    if single is not None:
        share = parse_share(reader, "mirrorPercentage")
        if share is None and reader.has("mirrorPercent"):
            share = Share(reader.integer("mirrorPercent", at_least=0, at_most=100), False)
        found.append(_mirror(parse_destination(single, namespace), share))
    for each in reader.messages("mirrors", _MIRROR):
        destination = each.required_message("destination", DESTINATION)
        share = parse_share(each, "percentage")
        found.append(_mirror(parse_destination(destination, namespace), share))
    return tuple(mirror for mirror in found if mirror is not None)


def _mirror(destination: Destination, share: Share | None) -> Mirror | None:
    if share is None:
        return Mirror(destination, Share(100, False))
    return Mirror(destination, share) if share.numerator else None


def parse_share(reader: SpecReader, name: str) -> Share | None:
    """A Percent field, None when unset."""
    found = reader.message(name, _PERCENT)
    if found is None:
        return None
    value = found.number("value")
    if not 0 <= value <= 100:
        raise found.error_at("value", f"expected 0 to 100, found {value:g}")
    return Share(int(value * 10000))  # cut off, as istiod does
