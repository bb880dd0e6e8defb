"""Who is at either end of a call, in the words of Istio's labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

UNKNOWN: Final = "unknown"
_CANONICAL_NAME: Final = "service.istio.io/canonical-name"
_CANONICAL_REVISION: Final = "service.istio.io/canonical-revision"
_OWNER_PREFIX: Final = "kubernetes://apis/"
_LONGEST: Final = 512
"""Characters of the longest owner's path, about; a peer may say anything."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One workload; empty where nobody said."""

    name: str = ""
    namespace: str = ""
    app: str = ""
    version: str = ""
    canonical_service: str = ""
    canonical_revision: str = ""
    cluster: str = ""

    def labels(self, end: str, principal: str) -> dict[str, str]:
        """Istio's labels of one end, `source` or `destination`."""
        return {
            f"{end}_workload": self.name or UNKNOWN,
            f"{end}_workload_namespace": self.namespace or UNKNOWN,
            f"{end}_principal": principal or UNKNOWN,
            f"{end}_app": self.app or self.canonical_service or UNKNOWN,
            f"{end}_version": self.version or self.canonical_revision or UNKNOWN,
            f"{end}_canonical_service": self.canonical_service or UNKNOWN,
            f"{end}_canonical_revision": self.canonical_revision or "latest",
            f"{end}_cluster": self.cluster or UNKNOWN,
        }


NOBODY: Final = Workload()


def of_metadata(metadata: Mapping[str, object]) -> Workload:
    """From a node's metadata, ours or what a peer sent of its own."""
    labels = labels_of(metadata)
    name = _text(metadata, "WORKLOAD_NAME") or _of_owner(_text(metadata, "OWNER"))
    app, version = _text(labels, "app"), _text(labels, "version")
    return Workload(
        name,
        _text(metadata, "NAMESPACE"),
        app,
        version,
        _text(labels, _CANONICAL_NAME) or app or name,
        _text(labels, _CANONICAL_REVISION) or version,
        _text(metadata, "CLUSTER_ID"),
    )


def labels_of(metadata: Mapping[str, object]) -> Mapping[str, object]:
    """A node's labels."""
    found = metadata.get("LABELS")
    return cast("Mapping[str, object]", found) if isinstance(found, Mapping) else {}


def of_endpoint(text: str) -> Workload:
    """From an endpoint's `istio.workload`: name;namespace;canonical name;canonical revision;cluster."""
    parts = [*text.split(";"), "", "", "", "", ""]
    name, namespace, service, revision, cluster = parts[:5]
    return Workload(name, namespace, "", "", service, revision, cluster)


def _of_owner(owner: str) -> str:
    """`kubernetes://apis/apps/v1/namespaces/shop/deployments/reviews`: its last word."""
    return owner.rpartition("/")[2] if owner.startswith(_OWNER_PREFIX) else ""


def _text(found: Mapping[str, object], key: str) -> str:
    value = found.get(key)
    return value[:_LONGEST] if isinstance(value, str) else ""
