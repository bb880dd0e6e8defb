"""The text format of Prometheus, version 0.0.4."""

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from meshsdk.telemetry.histogram import BOUNDS, Labels, RequestMetrics, RequestSeries

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HISTOGRAMS: Final = (
    ("istio_request_duration_milliseconds", "milliseconds", 0),
    ("istio_request_bytes", "bytes_received", 1),
    ("istio_response_bytes", "bytes_sent", 2),
)
_LE: Final = (*(f"{bound:g}" if bound < 1e6 else str(int(bound)) for bound in BOUNDS), "+Inf")

Kind = Literal["counter", "gauge"]


def request_lines(metrics: RequestMetrics) -> Iterator[str]:
    """`istio_requests_total` and its histograms."""
    found = list(metrics.series())
    counts: dict[str, int] = {}
    for text, series in _shaped(found, "requests_total"):
        counts[text] = counts.get(text, 0) + series.count
    if counts:
        yield "# TYPE istio_requests_total counter"
    for text, count in counts.items():
        yield f"istio_requests_total{{{text}}} {count}"
    for name, which, place in _HISTOGRAMS:
        merged: dict[str, tuple[list[int], float]] = {}
        for text, series in _shaped(found, name.removeprefix("istio_")):
            buckets, total = _buckets(series, which), series.sums[place]
            known = merged.get(text)
            if known is not None:
                buckets = [a + b for a, b in zip(known[0], buckets, strict=True)]
                total += known[1]
            merged[text] = buckets, total
        if merged:
            yield f"# TYPE {name} histogram"
        for text, (buckets, total) in merged.items():
            yield from _histogram(name, text, buckets, total)


def _shaped(all_series: list[RequestSeries], metric: str) -> Iterator[tuple[str, RequestSeries]]:
    """The series that have a metric, under the labels that it has there; some come to the same."""
    for series in all_series:
        without = series.shape.labels_without(metric)
        if without is not None:
            kept = {name: value for name, value in series.labels.items() if name not in without}
            yield label_text(kept), series


def _buckets(series: RequestSeries, which: str) -> list[int]:
    match which:
        case "milliseconds":
            return series.milliseconds
        case "bytes_received":
            return series.bytes_received
        case _:
            return series.bytes_sent


def _histogram(name: str, labels: str, buckets: list[int], total: float) -> Iterator[str]:
    seen = 0
    for le, count in zip(_LE, buckets, strict=True):
        seen += count
        yield f'{name}_bucket{{{labels},le="{le}"}} {seen}'
    yield f"{name}_sum{{{labels}}} {total:.12g}"
    yield f"{name}_count{{{labels}}} {seen}"


def sample_lines(name: str, kind: Kind, samples: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    """One metric with its samples; nothing where there are none."""
    found = list(samples)
    if found:
        yield f"# TYPE {name} {kind}"
    for labels, value in found:
        text = label_text(labels)
        yield f"{name}{{{text}}} {value:.15g}" if text else f"{name} {value:.15g}"


def label_text(labels: Labels) -> str:
    """What stands between the braces."""
    return ",".join([f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()])
