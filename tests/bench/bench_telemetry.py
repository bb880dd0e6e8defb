"""What telemetry costs a call, without I/O: `python -m tests.bench.bench_telemetry`.

The yardstick is the same decision with telemetry off, in the same run.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from meshsdk.call.effects import Send
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, Request, Response
from meshsdk.call.serving import Serving, enter_serving, leave_serving
from meshsdk.config.bootstrap import Node
from meshsdk.flow.drive import complete
from meshsdk.runtime.observing import Observing
from meshsdk.runtime.options import Options
from meshsdk.telemetry.histogram import RequestMetrics
from tests.flow.plans import TARGET, Mesh, config

_FIELDS = Headers.from_raw(
    [(b"accept", b"*/*"), (b"user-agent", b"python-httpx/0.28.1"), (b"x-tenant", b"blue")]
)
_TRACED = Headers(
    [("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"), ("baggage", "k=v"), ("x-request-id", "7")]
)
# Istio's default, as istiod 1.29 sends it.
_FORMAT = (
    '[%START_TIME%] \\"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\\"'
    " %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%"
    ' \\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION%'
    ' %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \\"%REQ(X-FORWARDED-FOR)%\\" \\"%REQ(USER-AGENT)%\\"'
    ' \\"%REQ(X-REQUEST-ID)%\\" \\"%REQ(:AUTHORITY)%\\" \\"%UPSTREAM_HOST%\\" %UPSTREAM_CLUSTER_RAW%'
    " %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS%"
    " %REQUESTED_SERVER_NAME% %ROUTE_NAME%\\n"
)


@contextmanager
def calling(text: str, options: Options | None) -> Generator[Callable[[], None]]:
    """Makes a whole outbound call; None: without telemetry."""
    mesh = Mesh(text)
    observing = None if options is None else Observing(options, _node())
    mesh.live.telemetry = observing
    answer = Response(200, Headers.from_raw([(b"content-type", b"text/plain")]), body=object())
    contexts = mesh.contexts

    def work() -> None:
        flow = mesh.call(Request("GET", "reviews", "/item/42", _FIELDS), TARGET)
        assert isinstance(next(flow), Send)
        flow.send(answer)
        complete(flow, BodyEnd(2))
        contexts.clear()

    yield work
    if observing is not None:
        observing.files.close()


def microseconds(work: Callable[[], object], times: int = 2000, rounds: int = 9) -> float:
    """Of this thread's own time: the machine has other work too."""
    best = float("inf")
    for _ in range(rounds):
        start = time.thread_time()
        for _ in range(times):
            work()
        best = min(best, (time.thread_time() - start) / times)
    return best * 1e6


def together(works: Sequence[Callable[[], None]]) -> list[float]:
    """The best of many short rounds of each, taken in turns."""
    rounds = [[microseconds(work, 400, 1) for work in works] for _ in range(25)]
    return [min(each) for each in zip(*rounds, strict=True)]


def _node() -> Node:
    return Node("sidecar~1~a.b~b.svc", metadata={"WORKLOAD_NAME": "web", "NAMESPACE": "shop"})


def registry() -> float:
    """One request in the registry alone: a count and three histograms."""
    metrics = RequestMetrics()
    key = ("outbound|80||reviews", "", (200, "-", None), None)
    metrics.add(key, {})

    def work() -> None:
        series = metrics.find(key)
        assert series is not None
        metrics.count(series, 12.5, 0, 300)

    return microseconds(work, times=20_000)


def inherited(text: str) -> tuple[float, float]:
    """A call outside of requests, and one within: its trace and deadline are taken along."""
    mesh = Mesh(text)
    contexts = mesh.contexts

    def work() -> None:
        flow = mesh.call(Request("GET", "reviews", "/item/42", _FIELDS), TARGET)
        next(flow)
        flow.close()
        contexts.clear()

    outside = microseconds(work)
    ends = mesh.clock.monotonic() + 1.0
    entered = enter_serving(Serving(Request("GET", "a", "/", _TRACED), lambda: ends))
    try:
        return outside, microseconds(work)
    finally:
        leave_serving(entered)


def serving() -> float:
    """What a request pays for it: made, entered, left."""
    request = Request("GET", "a", "/", _TRACED)

    def work() -> None:
        leave_serving(enter_serving(Serving(request, lambda: None)))

    return microseconds(work, times=20_000)


def with_log(path: Path) -> str:
    """An access logger of Istio's default format."""
    kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    return config("{cluster: c}").replace(
        "stat_prefix: x",
        f'stat_prefix: x\n          access_log: [{{name: f, typed_config: {{"@type": {kind}, path:'
        f' "{path}", log_format: {{text_format_source: {{inline_string: "{_FORMAT}"}}}}}}}}]',
    )


def main() -> None:
    plain = config("{cluster: c}")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        variants = {
            "call, telemetry off": (plain, None),
            "call, nothing asked for": (plain, Options()),
            "call, a hook that does nothing": (plain, Options(on_call=lambda seen: None)),
            "call, Istio's metrics": (plain, Options(metrics="always")),
            "call, Istio's default access log": (
                with_log(directory / "log"),
                Options(access_log_files=True),
            ),
        }
        costs = together([stack.enter_context(calling(*each)) for each in variants.values()])
    for name, cost in zip(variants, costs, strict=True):
        print(f"{name:36} {cost:7.2f} us  {cost - costs[0]:+.2f}")
    print(f"{'registry alone':36} {registry():7.2f} us")
    outside, within = inherited(plain)
    print(f"{'attempt outside of a request':36} {outside:7.2f} us")
    print(f"{'attempt within: trace, deadline':36} {within:7.2f} us  {within - outside:+.2f}")
    print(f"{'serving made, entered, left':36} {serving():7.2f} us")


if __name__ == "__main__":
    main()
