"""The text format of Prometheus, version 0.0.4."""

from collections.abc import Iterable, Iterator, Mapping
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
    merged = list(_merged(metrics.series()).items())
    if not merged:
        return
    yield "# TYPE istio_requests_total counter"
    for labels, series in merged:
        yield f"istio_requests_total{{{labels}}} {series.count}"
    for name, which, place in _HISTOGRAMS:
        yield f"# TYPE {name} histogram"
        for labels, series in merged:
            yield from _histogram(name, labels, _buckets(series, which), series.sums[place])


def _merged(all_series: Iterable[RequestSeries]) -> Mapping[str, RequestSeries]:
    """By labels: different keys may come to the same."""
    found: dict[str, RequestSeries] = {}
    for series in all_series:
        text = label_text(series.labels)
        known = found.setdefault(text, series)
        if known is not series:
            known.count += series.count
            for _, which, place in _HISTOGRAMS:
                into = _buckets(known, which)
                into[:] = [a + b for a, b in zip(into, _buckets(series, which), strict=True)]
                known.sums[place] += series.sums[place]
    return found


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
