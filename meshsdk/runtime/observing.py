"""Who takes note of calls: metrics, access logs, spans and the application's own hook."""

import sys
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from meshsdk import __version__
from meshsdk.call.endpoint import Host
from meshsdk.config.bootstrap import Node
from meshsdk.flow.cluster_plan import LiveState
from meshsdk.resources.access_log import AccessLog
from meshsdk.resources.hcm import HttpConnectionManager
from meshsdk.resources.istio_stats import ALL
from meshsdk.runtime.istio_metrics import IstioMetrics
from meshsdk.runtime.log_files import STREAMS, LogFile, LogFiles
from meshsdk.runtime.options import Options
from meshsdk.telemetry import ConfigReported, Emit, silent
from meshsdk.telemetry.histogram import RequestMetrics
from meshsdk.telemetry.prometheus import request_lines, sample_lines
from meshsdk.telemetry.seen_call import CallSpans, SeenCall, failed
from meshsdk.telemetry.workload import labels_of, of_metadata
from meshsdk.wire.peer_metadata import encode

_TOLD: Final = ("NAME", "NAMESPACE", "OWNER", "WORKLOAD_NAME", "CLUSTER_ID", "MESH_ID", "LABELS")
_TOLD_LABELS: Final = (
    "app",
    "version",
    "service.istio.io/canonical-name",
    "service.istio.io/canonical-revision",
)


class Observing:
    """Made once per mesh and process."""

    def __init__(self, options: Options, node: Node, emit: Emit = silent) -> None:
        self._options = options
        self._emit = emit
        self.is_own_configuration = False
        """Whether it is the application's own, and no control plane's."""
        self.principal: Callable[[], str] = str
        """Our own SPIFFE ID."""
        self._us = of_metadata(node.metadata)
        self.metrics = RequestMetrics()
        self.files = LogFiles()

    @property
    def is_on(self) -> bool:
        """Whether any call may be noted at all."""
        asked = self._options
        return (
            asked.metrics != "never" or asked.access_log or asked.spans or asked.on_call is not None
        )

    def recorder(self, hcm: object, *, is_inbound: bool) -> "Recorder | None":
        """As `telemetry.seen_call.Telemetry`."""
        assert isinstance(hcm, HttpConnectionManager)
        asked = self._options
        finished: list[Callable[[SeenCall], None]] = []
        told = next((f.stats for f in hcm.http_filters if f.stats is not None), None)
        stats = (told or ALL) if asked.metrics == "always" else told
        if asked.metrics != "never" and stats is not None:
            made = IstioMetrics(
                self.metrics, self._us, stats, lambda: self.principal(), is_inbound=is_inbound
            )
            finished.append(made.finished)
        logs = [log for log in hcm.access_logs if self._may_write(log)]
        finished += [LogWriter(log, self.files.file(log.path)).finished for log in logs]
        if asked.on_call is not None:
            finished.append(asked.on_call)
        spans = self._spans(hcm, is_inbound) if asked.spans else None
        if not finished and spans is None:
            return None
        is_asked = any(log.names_local_address for log in logs)
        return Recorder(tuple(finished), spans, wants_local_address=is_asked)

    def _may_write(self, log: AccessLog) -> bool:
        asked = self._options
        if not asked.access_log or log.path in STREAMS:
            return asked.access_log
        files = asked.access_log_files
        if self.is_own_configuration if files is None else files:
            return True
        why = "files that a control plane names are written with Options(access_log_files=True)"
        self._emit(ConfigReported("access log", log.path, why))
        return False

    def _spans(self, hcm: HttpConnectionManager, is_inbound: bool) -> "Spans | None":
        if "opentelemetry.trace" not in sys.modules:
            return None  # nobody installed an SDK; importing the API costs 40 ms
        from meshsdk.telemetry.spans import SpanMaker, installed_tracer

        tracer = installed_tracer(__version__)
        if tracer is None:
            return None
        tracing = hcm.tracing
        return SpanMaker(
            tracer,
            self._options.random,
            tracing.sampled,
            tracing.tags,
            is_inbound=is_inbound,
        )

    def lines(self, live: LiveState) -> Iterator[str]:
        """Metrics of calls, and of what they hold now."""
        yield from request_lines(self.metrics)
        lost = [({"of": "requests"}, float(self.metrics.lost)), ({"of": "log"}, self.files.lost)]
        yield from sample_lines("meshsdk_telemetry_lost_total", "counter", lost)
        active = [
            ({"cluster_name": name}, float(sum(_active(h) for h in list(state.placed))))
            for name, state in list(live.clusters.items())
        ]
        yield from sample_lines("envoy_cluster_upstream_rq_active", "gauge", active)
        build = [({"component": "proxy", "tag": f"meshsdk-{__version__}"}, 1.0)]
        yield from sample_lines("istio_build", "gauge", build)


def _active(host: Host) -> int:
    return host.state.active_requests


class Spans(Protocol):
    """Makes the spans of calls."""

    def begin(self, call: SeenCall) -> CallSpans:
        """Those of one call."""
        ...


class Recorder:
    """Of the calls through one connection manager. A part that fails takes no other along."""

    __slots__ = ("_finished", "_spans", "wants_local_address")

    def __init__(
        self,
        finished: tuple[Callable[[SeenCall], None], ...],
        spans: Spans | None,
        *,
        wants_local_address: bool,
    ) -> None:
        self.wants_local_address = wants_local_address
        self._finished = finished
        self._spans = spans

    def begin(self, call: SeenCall) -> CallSpans | None:
        """A call begins."""
        return None if self._spans is None else self._spans.begin(call)

    def finished(self, call: SeenCall) -> None:
        """A call is over."""
        for take in self._finished:
            try:
                take(call)
            except Exception:
                failed()


class LogWriter:
    """One access logger."""

    __slots__ = ("_file", "_log")

    def __init__(self, log: AccessLog, file: LogFile) -> None:
        self._log = log
        self._file = file

    def finished(self, call: SeenCall) -> None:
        """Write a call's line, unless the logger's filter passes it over."""
        line = self._log.line(call)
        if line is not None:
            self._file.write(line)


def told_to_peers(node: Node) -> tuple[tuple[str, str], ...]:
    """The fields in which Istio's proxies tell each other of themselves; none where we are nobody."""
    if not node.metadata:
        return ()
    said = {key: value for key in _TOLD if isinstance(value := node.metadata.get(key), str)}
    labels = labels_of(node.metadata)
    kept = {name: labels[name] for name in _TOLD_LABELS if isinstance(labels.get(name), str)}
    metadata = encode({**said, "LABELS": kept} if kept else said)
    return (("x-envoy-peer-metadata-id", node.id), ("x-envoy-peer-metadata", metadata))
