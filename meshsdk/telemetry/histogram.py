"""Request metrics: a count and three histograms that share their labels, as Istio's do."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Final, Protocol, TypeAlias

BOUNDS: Final = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000,
    30000, 60000, 300000, 600000, 1800000, 3600000,
)  # fmt: skip
"""Upper bounds of Envoy's default buckets, which Istio's histograms have whatever their unit."""
_BUCKETS: Final = len(BOUNDS) + 1
MAX_SERIES: Final = 10_000

Labels: TypeAlias = Mapping[str, str]


class Shape(Protocol):
    """What of the metrics is wanted."""

    def labels_without(self, metric: str, /) -> frozenset[str] | None:
        """Labels that a metric (`requests_total`) does not have; None: it is not wanted at all."""
        ...


class _Whole:
    def labels_without(self, metric: str, /) -> frozenset[str] | None:
        del metric
        return frozenset()


WHOLE: Final[Shape] = _Whole()
"""Every metric with all of its labels."""


class RequestSeries:
    """What was counted under one set of labels. Only `RequestMetrics` writes to it."""

    __slots__ = ("bytes_received", "bytes_sent", "count", "labels", "milliseconds", "shape", "sums")

    def __init__(self, labels: Labels, shape: Shape = WHOLE) -> None:
        self.labels = labels
        self.shape = shape
        self.count = 0
        self.milliseconds = [0] * _BUCKETS
        self.bytes_received = [0] * _BUCKETS
        self.bytes_sent = [0] * _BUCKETS
        self.sums = [0.0, 0.0, 0.0]
        """Of milliseconds, bytes received and bytes sent."""


class RequestMetrics:
    """Any number of threads. Series are found by keys that are cheaper to make than labels."""

    def __init__(self, max_series: int = MAX_SERIES) -> None:
        self._lock = Lock()
        self._series: dict[object, RequestSeries] = {}
        self._shapes: dict[Shape, int] = {}
        self._max_series = max_series
        self.lost = 0
        """Requests that were not counted, as somebody invents labels."""

    def number_of(self, shape: Shape) -> int:
        """For keys: the same for shapes that are equal."""
        with self._lock:
            return self._shapes.setdefault(shape, len(self._shapes))

    def find(self, key: object) -> RequestSeries | None:
        """The series of a key; None: `add` it."""
        return self._series.get(key)

    def add(self, key: object, labels: Labels, shape: Shape = WHOLE) -> RequestSeries | None:
        """A new series; None where there are too many, and the request is lost."""
        made = RequestSeries(labels, shape)
        with self._lock:
            if len(self._series) >= self._max_series:
                self.lost += 1
                return None
            return self._series.setdefault(key, made)

    def count(
        self, series: RequestSeries, milliseconds: float, bytes_received: int, bytes_sent: int
    ) -> None:
        """One request."""
        slow = bisect_left(BOUNDS, milliseconds)
        # Most bodies are empty or small: the first bucket, or found as fast.
        came = bisect_left(BOUNDS, bytes_received) if bytes_received else 0
        went = bisect_left(BOUNDS, bytes_sent) if bytes_sent else 0
        sums = series.sums
        with self._lock:
            series.count += 1
            series.milliseconds[slow] += 1
            series.bytes_received[came] += 1
            series.bytes_sent[went] += 1
            sums[0] += milliseconds
            sums[1] += bytes_received
            sums[2] += bytes_sent

    def series(self) -> Iterator[RequestSeries]:
        """Copies as of now; no call waits for more than one of them."""
        with self._lock:
            known = list(self._series.values())
        for series in known:
            with self._lock:
                copy = _copy(series)
            yield copy


def _copy(series: RequestSeries) -> RequestSeries:
    copy = RequestSeries(series.labels, series.shape)
    copy.count = series.count
    copy.milliseconds = list(series.milliseconds)
    copy.bytes_received = list(series.bytes_received)
    copy.bytes_sent = list(series.bytes_sent)
    copy.sums = list(series.sums)
    return copy
