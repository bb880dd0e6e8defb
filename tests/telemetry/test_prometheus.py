"""Request metrics and their text."""

from threading import Thread

from meshsdk.telemetry.histogram import Labels, RequestMetrics
from meshsdk.telemetry.prometheus import label_text, request_lines, sample_lines


def record(metrics: RequestMetrics, key: object, labels: Labels, *numbers: int | float) -> None:
    series = metrics.find(key) or metrics.add(key, labels)
    if series is not None:
        milliseconds, received, sent = numbers
        metrics.count(series, milliseconds, int(received), int(sent))


def lines_of(metrics: RequestMetrics) -> list[str]:
    return list(request_lines(metrics))


def test_a_request_falls_into_every_bucket_that_is_large_enough() -> None:
    metrics = RequestMetrics()

    record(metrics, "k", {"code": "200"}, 7.5, 0, 300)

    lines = lines_of(metrics)
    duration = 'istio_request_duration_milliseconds_bucket{code="200",le='
    assert 'istio_requests_total{code="200"} 1' in lines
    assert f'{duration}"5"}} 0' in lines
    assert f'{duration}"10"}} 1' in lines
    assert f'{duration}"+Inf"}} 1' in lines
    assert 'istio_request_duration_milliseconds_sum{code="200"} 7.5' in lines
    assert 'istio_request_bytes_bucket{code="200",le="0.5"} 1' in lines
    assert 'istio_response_bytes_sum{code="200"} 300' in lines
    assert 'istio_response_bytes_count{code="200"} 1' in lines


def test_buckets_are_envoys_own() -> None:
    metrics = RequestMetrics()
    record(metrics, "k", {}, 1, 0, 0)

    bounds = [line.split('"')[1] for line in lines_of(metrics) if "duration_milliseconds_b" in line]

    assert " ".join(bounds) == (
        "0.5 1 5 10 25 50 100 250 500 1000 2500 5000 10000 30000 60000 300000 600000 1800000"
        " 3600000 +Inf"
    )


def test_keys_with_the_same_labels_are_one_series() -> None:
    metrics = RequestMetrics()

    record(metrics, "k", {"a": "1"}, 1, 0, 0)
    record(metrics, "l", {"a": "1"}, 1, 0, 0)

    assert [line for line in lines_of(metrics) if line.startswith("istio_requests_total{")] == [
        'istio_requests_total{a="1"} 2'
    ]


def test_nobody_fills_the_memory_with_labels() -> None:
    metrics = RequestMetrics(max_series=2)

    for key in "abcd":
        record(metrics, key, {}, 1, 0, 0)

    assert metrics.lost == 2
    assert len(list(metrics.series())) == 2


def test_no_request_is_lost_between_threads() -> None:
    metrics = RequestMetrics()

    def work() -> None:
        for i in range(2000):
            record(metrics, i % 3, {}, i, i, i)

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(series.count for series in metrics.series()) == 8000


def test_a_value_can_hold_anything() -> None:
    assert label_text({"a": 'x"\\\ny'}) == r'a="x\"\\\ny"'


def test_a_metric_without_samples_is_not_there() -> None:
    assert list(sample_lines("m", "gauge", [])) == []
    assert list(sample_lines("m", "gauge", [({}, 1.0)])) == ["# TYPE m gauge", "m 1"]
