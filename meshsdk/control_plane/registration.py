"""Workloads that register themselves: Istio's auto-registration (FEED.md 1.5, AUTO_REGISTER_GROUP).

An entry begins with an authenticated stream and goes some seconds after its last one.
"""

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.clock import Clock
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.workload_group import WorkloadGroup
from meshsdk.errors import PeerError

GRACE: Final = 10.0
"""Seconds that an entry outlives its stream: istiod's."""
GROUP: Final = "AUTO_REGISTER_GROUP"


@dataclass(slots=True)
class _Entry:
    group: str
    text: str
    streams: int = 0
    ends: float | None = None


@dataclass(slots=True)
class Registrations:
    """Entries by (namespace, name). Safe for threads."""

    clock: Clock
    grace: float = GRACE
    _entries: dict[tuple[str, str], _Entry] = field(default_factory=dict[tuple[str, str], _Entry])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(
        self, proxy: Proxy, caller: SpiffeId | None, groups: Iterable[WorkloadGroup]
    ) -> tuple[str, str]:
        """A stream of a node that names a group. PeerError where it may not register."""
        name = proxy.text(GROUP)
        found = next(
            (
                group
                for group in groups
                if (group.metadata.namespace, group.metadata.name) == (proxy.namespace, name)
            ),
            None,
        )
        if found is None:
            raise PeerError(f"there is no WorkloadGroup {proxy.namespace}/{name}")
        if caller is None:
            raise PeerError("a workload registers itself on an authenticated stream only")
        account = found.template.service_account or "default"
        if (caller.namespace, caller.service_account) != (proxy.namespace, account):
            expected = f"{proxy.namespace}/{account}"
            raise PeerError(f"{caller} may not register in {name}", expected=expected)
        key = proxy.namespace, proxy.name
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and entry.group != name:  # whose account is another's
                raise PeerError(f"{proxy.name} is registered in {entry.group}")
            text = json.dumps(_document(proxy, found))
            if entry is None or entry.text != text:
                streams = 0 if entry is None else entry.streams
                entry = self._entries[key] = _Entry(name, text, streams)
            entry.streams += 1
            entry.ends = None
        return key

    def end(self, key: tuple[str, str]) -> None:
        """One of its streams has ended."""
        with self._lock:
            entry = self._entries[key]
            entry.streams -= 1
            if not entry.streams:
                entry.ends = self.clock.monotonic() + self.grace

    def expire(self) -> bool:
        """Drop what has ended; whether something has."""
        now = self.clock.monotonic()
        with self._lock:
            over = [
                key
                for key, entry in self._entries.items()
                if entry.ends is not None and now >= entry.ends
            ]
            for key in over:
                del self._entries[key]
        return bool(over)

    def texts(self) -> dict[str, str]:
        """The entries as documents, as if they lay in the directory."""
        with self._lock:
            return {
                f"<registered {namespace}/{name}>": entry.text
                for (namespace, name), entry in sorted(self._entries.items())
            }


def _document(proxy: Proxy, group: WorkloadGroup) -> Mapping[str, object]:
    template = group.template
    spec: dict[str, object] = {
        "address": proxy.addresses[0],
        "labels": {**template.labels, **group.entry_labels, **proxy.labels},
    }
    optional: Mapping[str, object] = {
        "ports": dict(template.ports),
        "network": proxy.network or template.network,
        "locality": proxy.locality or template.locality,
        "weight": template.weight,
        "serviceAccount": template.service_account,
    }
    spec.update({key: value for key, value in optional.items() if value})
    metadata = {
        "name": proxy.name,
        "namespace": proxy.namespace,
        "annotations": dict(group.entry_annotations),
    }
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": metadata,
        "spec": spec,
    }
