"""Proxies: what a node says of itself when it connects. FEED.md 1.4 to 1.6."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast

from meshsdk.control_plane.istio.selectors import Workload
from meshsdk.control_plane.istio.services import is_ip
from meshsdk.errors import ConfigError

ProxyType: TypeAlias = Literal["sidecar", "router"]
Interception: TypeAlias = Literal["REDIRECT", "TPROXY", "NONE"]
_TYPES: Final[Mapping[str, ProxyType]] = {"sidecar": "sidecar", "router": "router"}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A node of the mesh, before the registry has told what it knows of it."""

    type: ProxyType
    addresses: tuple[str, ...]
    """IP addresses, the primary one first."""
    name: str
    """Of the pod or of the WorkloadEntry."""
    namespace: str
    dns_domain: str
    """`NAMESPACE.svc.cluster.local`: which short names its application may use."""
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """The registry's where it knows the workload, else the node's own."""
    locality: str = ""
    """`region/zone/subzone`, the registry's where it has one."""
    service_account: str = ""
    cluster_id: str = ""
    user_agent_name: str = ""

    @property
    def workload(self) -> Workload:
        """Whom policies choose."""
        return Workload(self.namespace, self.labels)

    @property
    def interception_mode(self) -> Interception:
        """REDIRECT where the node says nothing."""
        found = self.metadata.get("INTERCEPTION_MODE")
        return "NONE" if found == "NONE" else "TPROXY" if found == "TPROXY" else "REDIRECT"

    @property
    def dns_capture(self) -> bool:
        """Whether it can use allocated addresses; istiod's allocation in memory asks for both."""
        return self.is_true("DNS_CAPTURE") and self.is_true("DNS_AUTO_ALLOCATE")

    @property
    def network(self) -> str:
        """Its network; empty is the only one."""
        return self.text("NETWORK")

    def text(self, key: str) -> str:
        """A metadata value that is a text; empty where there is none."""
        found = self.metadata.get(key)
        return found if isinstance(found, str) else ""

    def is_true(self, key: str) -> bool:
        """A metadata value that is a boolean, or its text."""
        found = self.metadata.get(key)
        return found is True or (isinstance(found, str) and found.lower() in ("true", "1", "t"))


def parse_proxy(node: Mapping[str, object]) -> Proxy:
    """A `config.core.v3.Node` in proto-JSON. ConfigError where istiod would end the stream."""
    node_id = str(node.get("id", ""))
    parts = node_id.split("~")
    if len(parts) != 4:
        raise ConfigError("node.id", f"expected TYPE~IP~POD.NAMESPACE~DOMAIN, found {node_id!r}")
    if parts[0] not in _TYPES:
        raise ConfigError("node.id", f"expected a type of sidecar or router, found {parts[0]!r}")
    metadata = _mapping(node.get("metadata"))
    ips = metadata.get("INSTANCE_IPS")
    addresses = tuple(str(ips).split(",")) if ips else ()
    if not addresses or not all(map(is_ip, addresses)):
        addresses = (parts[1],)
    if not is_ip(addresses[0]):
        raise ConfigError("node.id", f"expected an IP address, found {parts[1]!r}")
    name, _, namespace = parts[2].rpartition(".")
    domain = parts[3]
    labels = {key: str(value) for key, value in _mapping(metadata.get("LABELS")).items()}
    return Proxy(
        type=_TYPES[parts[0]],
        addresses=addresses,
        name=name or parts[2],
        namespace=str(metadata.get("NAMESPACE") or namespace),
        dns_domain=domain,
        metadata=metadata,
        labels=labels,
        locality=_locality(_mapping(node.get("locality"))),
        service_account=str(metadata.get("SERVICE_ACCOUNT") or ""),
        cluster_id=str(metadata.get("CLUSTER_ID") or ""),
        user_agent_name=str(node.get("user_agent_name") or ""),
    )


def _locality(found: Mapping[str, object]) -> str:
    parts = [str(found.get(key) or "") for key in ("region", "zone", "sub_zone")]
    return "/".join(parts).rstrip("/")


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
