"""Istio's standard metrics of calls, with its labels.

Source: istio.io, "Istio Standard Metrics". What is counted of bodies is their own bytes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, cast

from meshsdk.call.address import host_of
from meshsdk.call.context import CallContext
from meshsdk.call.message import Response
from meshsdk.filters.peer_metadata import DOWNSTREAM_PEER, UPSTREAM_PEER
from meshsdk.flow.cluster_plan import ClusterPlan
from meshsdk.resilience.deadline import is_grpc_request
from meshsdk.resources.istio_stats import IstioStats
from meshsdk.resources.tls import UpstreamTls
from meshsdk.telemetry.histogram import RequestMetrics, RequestSeries
from meshsdk.telemetry.seen_call import SeenCall
from meshsdk.telemetry.workload import NOBODY, UNKNOWN, Workload, of_endpoint, of_metadata
from meshsdk.wire.peer_metadata import decode

_GRPC_STATUS: Final = re.compile(r"[0-9]{1,3}")
"""Anything else would be a series for each text that the other side invents."""
_UNREACHED: Final = frozenset({"BlackHoleCluster", "PassthroughCluster"})


class IstioMetrics:
    """Counts the calls of one direction."""

    def __init__(
        self,
        metrics: RequestMetrics,
        us: Workload,
        stats: IstioStats,
        principal: Callable[[], str],
        *,
        is_inbound: bool,
    ) -> None:
        """`principal`: our own SPIFFE ID."""
        self._metrics = metrics
        self._us = us
        self._principal = principal
        self._stats = stats
        self._shape = metrics.number_of(stats)
        """In keys: what the feed sends again goes on counting."""
        self.finished = self._inbound if is_inbound else self._outbound

    def _outbound(self, call: SeenCall) -> None:
        context = call.context
        host = context.host
        istio = None if host is None else host.endpoint.metadata.get("istio")
        workload = "" if istio is None else istio.get("workload", "")
        answer = _answer(call)
        peer = _peer(context, UPSTREAM_PEER)
        key = (self._shape, context.cluster, workload, answer, peer)
        series = self._metrics.find(key) or self._metrics.add(
            key,
            self._labels(context, str(workload), peer) | _response(*answer),
            self._stats,
        )
        self._count(call, series)

    def _inbound(self, call: SeenCall) -> None:
        context = call.context
        answer = _answer(call)
        peer = _peer(context, DOWNSTREAM_PEER)
        certificate = context.connection.peer.certificate
        names = None if certificate is None else certificate.uri_sans
        key = (self._shape, context.cluster, names, answer, peer)
        series = self._metrics.find(key) or self._metrics.add(
            key, _inbound_labels(self._us, context, peer) | _response(*answer), self._stats
        )
        self._count(call, series)

    def _labels(self, context: CallContext, workload: str, peer: Workload) -> dict[str, str]:
        """Of a call that we make."""
        them = of_endpoint(workload) if workload else peer
        cluster = None if context.attempt is None else context.attempt.cluster
        socket = None if context.host is None else context.host.socket
        return {
            "reporter": "source",
            **self._us.labels("source", "" if socket is None else self._principal()),
            **them.labels("destination", _principal(socket)),
            **_service(cluster, context),
            "connection_security_policy": UNKNOWN,
        }

    def _count(self, call: SeenCall, series: RequestSeries | None) -> None:
        if series is not None:
            end = call.end
            received, sent = (0, 0) if end is None else (end.bytes_received, end.bytes_sent)
            self._metrics.count(series, call.seconds * 1000, received, sent)


def _answer(call: SeenCall) -> tuple[int, str, str | None]:
    """Response code, flags, and the gRPC status of a gRPC call."""
    context, outcome = call.context, call.outcome
    flags = ",".join(context.flags) if context.flags else "-"
    if not isinstance(outcome, Response):
        return 0, flags, None
    code = 0 if context.local_status == 0 else outcome.status
    if not is_grpc_request(context.forwarded or call.request):
        return code, flags, None
    trailers = None if call.end is None else call.end.trailers
    status = None if trailers is None else trailers.get("grpc-status")
    status = status or outcome.headers.get("grpc-status") or ""
    return code, flags, status if _GRPC_STATUS.fullmatch(status) else ""


def _inbound_labels(us: Workload, context: CallContext, peer: Workload) -> dict[str, str]:
    connection = context.connection
    certificate = connection.peer.certificate
    principal = next(iter(certificate.uri_sans), "") if certificate is not None else ""
    ours = connection.local_uri_sans[0] if connection.local_uri_sans else ""
    name = us.canonical_service or UNKNOWN
    return {
        "reporter": "destination",
        **peer.labels("source", principal),
        **us.labels("destination", ours),
        "destination_service": name,
        "destination_service_name": name,
        "destination_service_namespace": us.namespace or UNKNOWN,
        "connection_security_policy": "mutual_tls" if connection.is_mtls else "none",
    }


def _peer(context: CallContext, key: str) -> Workload:
    """Who a peer says that it is. Series are of workloads: what else it says, such as the name of
    its pod, makes no more of them."""
    text = context.filter_state.get(key) if context.filter_state else None
    return NOBODY if text is None else _workload(text)


@lru_cache(maxsize=1024)
def _workload(text: str) -> Workload:
    found = decode(text)
    return NOBODY if found is None else of_metadata(found)


def _service(cluster: object, context: CallContext) -> dict[str, str]:
    """The destination service, as istiod names it in the cluster's metadata."""
    host = name = namespace = ""
    if isinstance(cluster, ClusterPlan):
        services = cluster.cluster.metadata.get("istio", {}).get("services")
        if isinstance(services, Sequence) and services:
            first = cast("Mapping[str, object]", services[0])
            host, name, namespace = (str(first.get(k, "")) for k in ("host", "name", "namespace"))
    if context.cluster in _UNREACHED:
        name = context.cluster
    if not host and context.original is not None:
        host = host_of(context.original.authority)
    return {
        "destination_service": host or UNKNOWN,
        "destination_service_name": name or host or UNKNOWN,
        "destination_service_namespace": namespace or UNKNOWN,
    }


def _principal(socket: object) -> str:
    """The only SPIFFE ID that a verified peer of this socket can have; empty: several, or none."""
    validation = socket.validation if isinstance(socket, UpstreamTls) else None
    if validation is None:
        return ""
    exact = [found.exact for found in validation.san_matchers]
    only = exact[0] if len(exact) == 1 else None
    return only if only is not None and only.startswith("spiffe://") else ""


def _response(code: int, flags: str, grpc: str | None) -> dict[str, str]:
    found = {
        "request_protocol": "http" if grpc is None else "grpc",
        "response_code": str(code),
        "response_flags": flags,
    }
    if grpc is not None:
        found["grpc_response_status"] = grpc
    return found
