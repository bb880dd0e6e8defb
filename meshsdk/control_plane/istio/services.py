"""Services and their endpoints, whatever document they come from. Source: istiod, model.Service."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final, Literal, TypeAlias

Protocol: TypeAlias = Literal[
    "HTTP", "HTTP_PROXY", "HTTP2", "GRPC", "GRPC_WEB", "HTTPS", "TLS", "TCP", "UDP", "MONGO",
    "REDIS", "MYSQL", "AUTO",
]  # fmt: skip
"""`AUTO`: undeclared, so that proxies look at the first bytes (istiod's Unsupported)."""
Resolution: TypeAlias = Literal["STATIC", "DNS", "DNS_ROUND_ROBIN", "NONE", "DYNAMIC_DNS"]
"""As a ServiceEntry says it. A Kubernetes Service is STATIC, or NONE where it is headless."""
Registry: TypeAlias = Literal["Kubernetes", "External"]

HTTP_PROTOCOLS: Final = frozenset({"HTTP", "HTTP_PROXY", "HTTP2", "GRPC", "GRPC_WEB"})
HTTP2_PROTOCOLS: Final = frozenset({"HTTP2", "GRPC", "GRPC_WEB"})
TLS_PROTOCOLS: Final = frozenset({"HTTPS", "TLS"})
TLS_MODE: Final = "security.istio.io/tlsMode"
_LONGEST_IP: Final = 64  # an IPv6 address of 45 characters with a zone
ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - istiod's word for a service without address

_NAMES: Final[Mapping[str, Protocol]] = {
    "tcp": "TCP", "udp": "UDP", "grpc": "GRPC", "grpc-web": "GRPC_WEB", "http": "HTTP",
    "http_proxy": "HTTP_PROXY", "http2": "HTTP2", "https": "HTTPS", "tls": "TLS",
    "mongo": "MONGO", "redis": "REDIS", "mysql": "MYSQL",
}  # fmt: skip


def protocol_of(text: str) -> Protocol:
    """A protocol by the name that documents give it; `AUTO` for any other text."""
    return _NAMES.get(text.lower(), "AUTO")


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a service, the number that callers name."""

    number: int
    name: str
    protocol: Protocol
    target_port: int = 0
    """The workloads' port where the document says a number; 0 where it does not."""

    @property
    def is_http(self) -> bool:
        """Whether it is declared to be HTTP of any version."""
        return self.protocol in HTTP_PROTOCOLS

    @property
    def is_http2(self) -> bool:
        """Whether it is declared to be HTTP/2."""
        return self.protocol in HTTP2_PROTOCOLS

    @property
    def is_tls(self) -> bool:
        """Whether it is declared to be TLS that is not ours to open."""
        return self.protocol in TLS_PROTOCOLS

    @property
    def is_auto(self) -> bool:
        """Whether proxies must look at the first bytes."""
        return self.protocol == "AUTO"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A workload as one service sees it."""

    address: str
    """An IP, `unix:///path`, or a host name where the service resolves by DNS."""
    ports: Mapping[int, int]
    """The service's port number to the workload's port; a port not there is not served."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    service_account: str = ""
    locality: str = ""
    """`region/zone/subzone`."""
    weight: int = 0
    """0 where none is given, which counts as 1."""
    network: str = ""
    name: str = ""
    """The WorkloadEntry's or the pod's; of an endpoint written inline the document's."""
    namespace: str = ""
    is_inline: bool = False
    """Written inside a ServiceEntry."""
    is_ready: bool = True
    has_mtls: bool = False
    """It says (by label, or a WorkloadEntry by having an account) that it takes Istio's mTLS."""


@dataclass(frozen=True)
class Service:
    """A host name that can be called."""

    hostname: str
    namespace: str
    ports: tuple[ServicePort, ...]
    name: str = ""
    """Of Kubernetes the short one; of a ServiceEntry the whole host."""
    addresses: tuple[str, ...] = ()
    """As written: IPs, or CIDRs; none where the document has none."""
    auto_address: str = ""
    """Out of 240.240.0.0/16 where the document has no address; for nodes with DNS_CAPTURE."""
    resolution: Resolution = "STATIC"
    is_external: bool = False
    """MESH_EXTERNAL: no Istio mTLS by itself."""
    registry: Registry = "External"
    export_to: tuple[str, ...] = ("*",)
    """`*` all namespaces, `.` its own, or names of namespaces."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """The document's own; for selectors that choose services."""
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    subject_alt_names: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    created: float | None = None
    external_name: str = ""
    """Of a Kubernetes ExternalName: the host that it stands for."""
    publishes_not_ready: bool = False

    def port(self, number: int) -> ServicePort | None:
        """The port of a number."""
        for port in self.ports:
            if port.number == number:
                return port
        return None

    @property
    def is_headless(self) -> bool:
        """Of Kubernetes, without address: callers dial the workloads themselves."""
        return self.registry == "Kubernetes" and self.resolution == "NONE"

    @property
    def age_order(self) -> tuple[float, str]:
        """Sorts oldest first. Source: istiod, SortServicesByCreationTime."""
        return (
            float("inf") if self.created is None else self.created,
            f"{self.name}.{self.namespace}",
        )

    def is_visible_in(self, namespace: str) -> bool:
        """Whether `exportTo` lets callers of a namespace see it."""
        return is_exported(self.export_to, self.namespace, namespace)

    @cached_property
    def service_accounts(self) -> tuple[tuple[str, str], ...]:
        """(namespace, service account) of its endpoints that have one, sorted, each once."""
        found = {(each.namespace, each.service_account) for each in self.endpoints}
        return tuple(sorted(pair for pair in found if pair[1]))

    def address_for(self, *, dns_capture: bool) -> str:
        """The address that a listener of it has: its first own one, else (for a node with
        DNS_CAPTURE) the allocated one, else `ANY_ADDRESS`."""
        return self.addresses_for(dns_capture=dns_capture)[0]

    def addresses_for(self, *, dns_capture: bool) -> tuple[str, ...]:
        """All of them; `ANY_ADDRESS` alone where it has none."""
        if self.addresses:
            return self.addresses
        if dns_capture and self.auto_address:
            return (self.auto_address,)
        return (ANY_ADDRESS,)


def is_exported(export_to: tuple[str, ...], own: str, namespace: str) -> bool:
    """Whether a document of namespace `own` is visible in a namespace."""
    return any(
        each == "*" or each == namespace or (each == "." and own == namespace) for each in export_to
    )


def is_ip(text: str) -> bool:
    """Whether a text is an IP address (no CIDR)."""
    return len(text) <= _LONGEST_IP and _is_ip(text)  # so that what is cached is small


@lru_cache(maxsize=1 << 16)
def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
