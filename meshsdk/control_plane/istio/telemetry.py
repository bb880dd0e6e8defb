"""Telemetry: which access logs, traces and metrics a workload gives. FEED.md 3.12."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, TypeVar

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.selectors import (
    TARGET_REFS,
    Workload,
    parse_selector,
    selects,
)
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

Side: TypeAlias = Literal["CLIENT", "SERVER"]
T = TypeVar("T")

_SPEC: Final = fields("selector", "tracing", "metrics", "accessLogging", refused=TARGET_REFS)
_LOGGING: Final = fields("match", "providers", "disabled", "filter")
_TRACING: Final = fields(
    "match", "providers", "randomSamplingPercentage", "disableSpanReporting", "customTags",
    "useRequestIdForTraceSampling", "enableIstioTags",
)  # fmt: skip
_METRICS: Final = fields("providers", "overrides", "reportingInterval")
_OVERRIDE: Final = fields("match", "disabled", "tagOverrides")
_METRIC_MATCH: Final = fields("metric", "customMetric", "mode")
_TAG: Final = fields("operation", "value")
_MATCH: Final = fields("mode")
_FILTER: Final = fields("expression")
_PROVIDER: Final = fields("name")
_CUSTOM: Final = fields("literal", "environment", "header", "formatter")
_LITERAL: Final = fields("value")
_NAMED: Final = fields("name", "defaultValue")
_BOTH: Final[frozenset[Side]] = frozenset({"CLIENT", "SERVER"})
_MODES: Final[Mapping[str, frozenset[Side]]] = {
    "CLIENT_AND_SERVER": _BOTH,
    "CLIENT": frozenset({"CLIENT"}),
    "SERVER": frozenset({"SERVER"}),
}


@dataclass(frozen=True, slots=True)
class AccessLogging:
    """Log to these, or do not."""

    providers: tuple[str, ...] = ()
    sides: frozenset[Side] = _BOTH
    is_disabled: bool = False
    expression: str = ""
    """CEL; empty logs everything."""


@dataclass(frozen=True, slots=True)
class CustomTag:
    """A tag of spans: a text, a variable of the environment, a header."""

    kind: Literal["literal", "environment", "header", "formatter"]
    value: str
    """The text, or the name."""
    default: str = ""


@dataclass(frozen=True, slots=True)
class Tracing:
    """Trace to these; None where it says nothing."""

    providers: tuple[str, ...] = ()
    sides: frozenset[Side] = _BOTH
    sampling: float | None = None
    """Percent."""
    is_disabled: bool | None = None
    custom_tags: Mapping[str, CustomTag] = field(default_factory=dict[str, CustomTag])
    uses_request_id: bool | None = None
    has_istio_tags: bool | None = None


@dataclass(frozen=True, slots=True)
class TagOverride:
    """A dimension of metrics: CEL, or gone where None."""

    name: str
    expression: str | None


@dataclass(frozen=True, slots=True)
class MetricOverride:
    """One metric, or all."""

    metric: str
    sides: frozenset[Side] = _BOTH
    is_disabled: bool = False
    tags: tuple[TagOverride, ...] = ()


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics for these."""

    providers: tuple[str, ...] = ()
    overrides: tuple[MetricOverride, ...] = ()
    reporting_interval: float | None = None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A document."""

    metadata: Metadata
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    access_logging: tuple[AccessLogging, ...] = ()
    tracing: tuple[Tracing, ...] = ()
    metrics: tuple[Metrics, ...] = ()


def parse_telemetry(document: Document) -> Telemetry:
    """The document, or why istiod would refuse it."""
    spec = document.spec(_SPEC)
    return Telemetry(
        document.metadata,
        parse_selector(spec),
        spec.each("accessLogging", _LOGGING, _logging),
        spec.each("tracing", _TRACING, _tracing),
        spec.each("metrics", _METRICS, _metrics),
    )


def telemetry_of(
    documents: Iterable[Telemetry], workload: Workload, root_namespace: str
) -> tuple[Telemetry, ...]:
    """The mesh's, the namespace's and the workload's, the oldest of each, in this order."""
    found: dict[str, Telemetry] = {}
    for document in documents:
        namespace = document.metadata.namespace
        if document.selector:
            if namespace == workload.namespace and selects(document.selector, workload.labels):
                found.setdefault("workload", document)
            continue
        if namespace == root_namespace:
            found.setdefault("mesh", document)
        if namespace == workload.namespace != root_namespace:
            found.setdefault("namespace", document)
    return tuple(found[level] for level in ("mesh", "namespace", "workload") if level in found)


def _logging(reader: SpecReader) -> AccessLogging:
    expression = reader.message("filter", _FILTER)
    return AccessLogging(
        _providers(reader),
        _sides(reader),
        reader.boolean("disabled"),
        "" if expression is None else expression.string("expression"),
    )


def _tracing(reader: SpecReader) -> Tracing:
    sampling = None
    if reader.has("randomSamplingPercentage"):
        sampling = reader.number("randomSamplingPercentage")
        if not 0 <= sampling <= 100:
            expected = f"expected 0 to 100, found {sampling:g}"
            raise reader.error_at("randomSamplingPercentage", expected)
    names = _providers(reader)
    if len(names) > 1:
        raise reader.error_at("providers", "expected one provider")
    return Tracing(
        names,
        _sides(reader),
        sampling,
        reader.optional_boolean("disableSpanReporting"),
        {name: _custom_tag(each) for name, each in reader.entries("customTags", _CUSTOM)},
        reader.optional_boolean("useRequestIdForTraceSampling"),
        reader.optional_boolean("enableIstioTags"),
    )


def _custom_tag(reader: SpecReader) -> CustomTag:
    kind = reader.required("literal", "environment", "header", "formatter")
    if kind in ("literal", "formatter"):
        value = reader.required_message(kind, _LITERAL).required_string("value")
        return CustomTag("literal" if kind == "literal" else "formatter", value)
    named = reader.required_message(kind, _NAMED)
    return CustomTag(
        "environment" if kind == "environment" else "header",
        named.required_string("name"),
        named.string("defaultValue"),
    )


def _metrics(reader: SpecReader) -> Metrics:
    return Metrics(
        _providers(reader),
        reader.each("overrides", _OVERRIDE, _override),
        reader.optional_duration("reportingInterval"),
    )


def _override(reader: SpecReader) -> MetricOverride:
    match = reader.message("match", _METRIC_MATCH)
    metric, sides = "ALL_METRICS", _BOTH
    if match is not None:
        match.one_of("metric", "customMetric")
        metric = match.string("customMetric") or match.string("metric") or metric
        sides = match.enum("mode", _MODES, "CLIENT_AND_SERVER")
    return MetricOverride(
        metric,
        sides,
        reader.boolean("disabled"),
        tuple(_tag(name, each) for name, each in reader.entries("tagOverrides", _TAG)),
    )


def _tag(name: str, reader: SpecReader) -> TagOverride:
    is_removed = reader.enum("operation", {"UPSERT": False, "REMOVE": True}, "UPSERT")
    if is_removed == reader.has("value"):
        expected = "no value" if is_removed else "a value"
        raise reader.error_at("value", f"expected {expected} for this operation")
    return TagOverride(name, None if is_removed else reader.required_string("value"))


def _providers(reader: SpecReader) -> tuple[str, ...]:
    return reader.each("providers", _PROVIDER, lambda each: each.required_string("name"))


def _sides(reader: SpecReader) -> frozenset[Side]:
    match = reader.message("match", _MATCH)
    return _BOTH if match is None else match.enum("mode", _MODES, "CLIENT_AND_SERVER")


def chosen(
    levels: Iterable[tuple[T, ...]],
    side: Side,
    providers: Callable[[T], tuple[str, ...]],
    sides: Callable[[T], frozenset[Side]],
    default: tuple[str, ...],
) -> tuple[str, ...]:
    """The providers that the nearest level names, else the default ones."""
    found = default
    for level in levels:
        names = [name for each in level if side in sides(each) for name in providers(each)]
        found = tuple(dict.fromkeys(names)) or found
    return found


KIND: Final = Kind("telemetry.istio.io", "Telemetry", ("v1", "v1alpha1"), parse_telemetry)
