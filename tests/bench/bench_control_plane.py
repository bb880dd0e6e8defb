"""The embedded control plane with 1,000 services of 10 endpoints and 50 connected nodes.

`python -m tests.bench.bench_control_plane [services] [clients]`: the time of the first snapshot,
from file save to the last client's ACK, and memory. The clients are threads of a process of their
own that read frames and acknowledge them; they do not parse resources.
"""

import multiprocessing
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Final, cast

from meshsdk.control_plane.ads_session import (
    CLUSTER,
    LISTENER,
    LOAD_ASSIGNMENT,
    ROUTE_CONFIGURATION,
)
from meshsdk.control_plane.istio.translate import translate
from meshsdk.control_plane.serving import ControlPlane, ServingOptions
from meshsdk.wire.ads_stream import AdsStream, AdsTransport
from meshsdk.wire.channel import open_channel
from meshsdk.xds.messages import DiscoveryRequest, DiscoveryResponse

_ENDPOINTS: Final = 10
_PER_FILE: Final = 50
_NODE: Final = {
    "id": "sidecar~127.0.0.1~client-{}.apps~apps.svc.cluster.local",
    "metadata": {"NAMESPACE": "apps", "LABELS": {"app": "client"}, "CLUSTER_ID": "Kubernetes"},
}
_SERVICE: Final = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{i}, namespace: apps}}
spec:
  hosts: [s{i}.apps.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  addresses: [10.{a}.{b}.1]
  ports: [{{number: 8080, name: http, protocol: HTTP}}]
  endpoints:
{endpoints}
---
"""
_RULE: Final = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s0, namespace: apps}}
spec:
  hosts: [s0.apps.svc.cluster.local]
  http:
  - timeout: {seconds}s
    route: [{{destination: {{host: s0.apps.svc.cluster.local}}}}]
"""


def write(directory: Path, services: int) -> None:
    """The documents, some services to a file."""
    for start in range(0, services, _PER_FILE):
        documents = [_service(i) for i in range(start, min(start + _PER_FILE, services))]
        (directory / f"services-{start:05}.yaml").write_text("".join(documents))
    (directory / "rule.yaml").write_text(_RULE.format(seconds=10))


def _service(i: int) -> str:
    lines = [
        f"  - {{address: 172.{16 + i // 4096}.{i // 16 % 256}.{i % 16 * 16 + n}}}"
        for n in range(1, _ENDPOINTS + 1)
    ]
    return _SERVICE.format(i=i, a=i // 250, b=i % 250, endpoints="\n".join(lines))


def serve(directory: str, told: "Queue[object]", ended: threading.Event) -> None:
    """The control plane, in a process of its own."""
    started = time.perf_counter()
    plane = ControlPlane(Path(directory), translate, ServingOptions())
    port = plane.listen_plaintext()
    told.put((port, time.perf_counter() - started))
    with plane:
        ended.wait()
    told.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


class Client:
    """One node: subscribes, acknowledges, and knows when it saw what."""

    def __init__(self, port: int, number: int) -> None:
        node = {**_NODE, "id": str(_NODE["id"]).format(number)}
        self._channel = open_channel(f"127.0.0.1:{port}", None)
        self._stream: AdsStream = AdsTransport(self._channel, "delta", node, tuple).open()
        self.has_all = threading.Event()
        self.changed = threading.Event()
        self.octets = 0
        self.changed_at = 0.0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        for url in (CLUSTER, LISTENER):
            self._stream.send(DiscoveryRequest(url, subscribe=("*",), first=True))
        events: Iterator[object] = iter(self._stream)
        for event in events:
            if not isinstance(event, DiscoveryResponse):
                return
            self._stream.send(
                DiscoveryRequest(event.type_url, nonce=event.nonce, version=event.version)
            )
            self.octets += sum(len(each.raw) for each in event.resources)
            if event.type_url == CLUSTER and not self.has_all.is_set():
                names = [str(each.name) for each in event.resources if "outbound" in str(each.name)]
                self._ask(LOAD_ASSIGNMENT, names)
                self._ask(ROUTE_CONFIGURATION, ["8080"])
            if event.type_url == ROUTE_CONFIGURATION:
                self.changed_at = time.perf_counter()
                (self.changed if self.has_all.is_set() else self.has_all).set()

    def _ask(self, url: str, names: Sequence[str]) -> None:
        self._stream.send(DiscoveryRequest(url, subscribe=tuple(names), first=True))


def main(services: int, clients: int) -> None:
    """Print what it cost."""
    fork = multiprocessing.get_context("spawn")
    told: Queue[object] = fork.Queue()
    ended = fork.Event()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write(directory, services)
        process = fork.Process(target=serve, args=(name, told, ended), daemon=True)
        process.start()
        port, loaded = _got(told)
        print(f"{services} services of {_ENDPOINTS} endpoints read in {loaded:6.2f} s")
        first = _timed(lambda: [Client(port, 0)])
        print(f"first snapshot of one node           {first[0]:6.2f} s, {first[1] / 1e6:.1f} MB")
        start = time.perf_counter()
        nodes = [Client(port, i) for i in range(1, clients + 1)]
        for node in nodes:
            assert node.has_all.wait(300), "a node did not get its state"
        every = time.perf_counter() - start
        print(f"first snapshots of {clients} more nodes      {every:6.2f} s")
        start = time.perf_counter()
        (directory / ".rule").write_text(_RULE.format(seconds=11))
        (directory / ".rule").replace(directory / "rule.yaml")
        for node in nodes:
            assert node.changed.wait(120), "a node did not hear of the change"
        last = max(node.changed_at for node in nodes) - start
        print(f"file save to the last of {clients} ACKs      {last:6.2f} s")
        ended.set()
        print(f"memory of the control plane          {told.get(timeout=60):6.0f} MiB")
        process.join(10)


def _got(told: "Queue[object]") -> tuple[int, float]:
    return cast("tuple[int, float]", told.get(timeout=300))


def _timed(make: Callable[[], list[Client]]) -> tuple[float, int]:
    start = time.perf_counter()
    made = make()
    for node in made:
        assert node.has_all.wait(300), "a node did not get its state"
    return time.perf_counter() - start, made[0].octets


if __name__ == "__main__":
    arguments = [int(each) for each in sys.argv[1:]]
    main(*(arguments or [1000, 50]), *([50] if len(arguments) == 1 else []))
