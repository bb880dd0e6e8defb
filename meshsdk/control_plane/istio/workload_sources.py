"""The workloads that documents name, found by what services ask for."""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Final, Generic, TypeVar

from meshsdk.control_plane.istio.endpoint_slice import EndpointSlice
from meshsdk.control_plane.istio.kubernetes_endpoints import KubernetesEndpoints
from meshsdk.control_plane.istio.loader import Loaded
from meshsdk.control_plane.istio.pod import Pod
from meshsdk.control_plane.istio.selectors import selects
from meshsdk.control_plane.istio.services import TLS_MODE, Endpoint
from meshsdk.control_plane.istio.workload_entry import (
    Workload,
    WorkloadEntry,
    canonical_address,
)

T = TypeVar("T")
_NONE: Final = ()


class Labelled(Generic[T]):
    """Things of namespaces by their labels: no selector looks at all of them."""

    def __init__(self, items: Iterable[tuple[str, Mapping[str, str], T]]) -> None:
        """Namespace, labels and thing."""
        self._known: dict[tuple[str, str, str], list[tuple[Mapping[str, str], T]]] = {}
        for namespace, labels, item in items:
            for key, value in labels.items():
                self._known.setdefault((namespace, key, value), []).append((labels, item))

    def select(self, namespace: str, selector: Mapping[str, str]) -> list[T]:
        """Those that a selector chooses, in order; an empty one chooses none."""
        found = [self._known.get((namespace, *pair), _NONE) for pair in selector.items()]
        fewest = min(found, key=len, default=_NONE)
        return [item for labels, item in fewest if selects(selector, labels)]


class Sources:
    """All of them, indexed once."""

    def __init__(self, loaded: Loaded) -> None:
        self.entries = loaded.all(WorkloadEntry)
        self.pods = {(pod.metadata.namespace, pod.metadata.name): pod for pod in loaded.all(Pod)}
        self.with_entry = Labelled(
            (each.metadata.namespace, each.labels, each)
            for each in self.entries
            if each.workload.address
        )
        self.with_pod = Labelled(
            (pod.metadata.namespace, pod.metadata.labels, pod)
            for pod in self.pods.values()
            if pod.address
        )
        self.slices: dict[tuple[str, str], list[EndpointSlice]] = {}
        older = (each.slices for each in loaded.all(KubernetesEndpoints))
        for each in (*loaded.all(EndpointSlice), *chain.from_iterable(older)):
            self.slices.setdefault((each.metadata.namespace, each.service), []).append(each)


def endpoint_of_entry(entry: WorkloadEntry, ports: Mapping[int, int]) -> Endpoint:
    """An entry with its ports, by the service's port number."""
    workload = entry.workload
    return Endpoint(
        canonical_address(workload.address),
        ports,
        entry.labels,
        workload.service_account,
        workload.locality,
        workload.weight,
        workload.network,
        entry.metadata.name,
        entry.metadata.namespace,
        has_mtls=Workload(labels=entry.labels, service_account=workload.service_account).has_mtls,
    )


def endpoint_of_pod(pod: Pod, ports: Mapping[int, int], address: str = "") -> Endpoint:
    """A pod with its ports; `address`: another of its addresses."""
    labels = pod.metadata.labels
    return Endpoint(
        address or pod.address,
        ports,
        labels,
        pod.service_account,
        labels.get("istio-locality", "").replace(".", "/"),
        name=pod.metadata.name,
        namespace=pod.metadata.namespace,
        is_ready=pod.is_ready,
        has_mtls=labels.get(TLS_MODE) == "istio",
    )
