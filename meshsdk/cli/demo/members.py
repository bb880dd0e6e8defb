"""Who is in the demo's mesh."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.config.bootstrap import Node

TRUST_DOMAIN: Final = "cluster.local"


@dataclass(frozen=True, slots=True)
class Member:
    """One process."""

    name: str
    app: str
    namespace: str
    version: str = "v1"

    @property
    def spiffe_id(self) -> str:
        """What its certificate says; its service account has the name of its application."""
        return f"spiffe://{TRUST_DOMAIN}/ns/{self.namespace}/sa/{self.app}"

    @property
    def node(self) -> Node:
        """What it tells the control plane."""
        domain = f"{self.namespace}.svc.{TRUST_DOMAIN}"
        metadata = {
            "NAMESPACE": self.namespace,
            "SERVICE_ACCOUNT": self.app,
            "DNS_CAPTURE": "true",
            "DNS_AUTO_ALLOCATE": "true",
            "MESH_ID": TRUST_DOMAIN,
        }
        node_id = f"sidecar~127.0.0.1~{self.name}.{self.namespace}~{domain}"
        return Node(node_id, f"{self.app}.{self.namespace}", metadata)

    def workload_entry(self, port: int) -> str:
        """Its WorkloadEntry, as JSON, which is YAML too."""
        labels = {
            "app": self.app,
            "version": self.version,
            "security.istio.io/tlsMode": "istio",
        }
        document: Mapping[str, object] = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "address": "127.0.0.1",
                "ports": {"http": port},
                "serviceAccount": self.app,
                "labels": labels,
            },
        }
        return json.dumps(document)


FRONTEND: Final = Member("frontend", "frontend", "team-a")
API_GATEWAY: Final = Member("api-gateway", "api-gateway", "team-a")
API_V1_A: Final = Member("api-service-v1-a", "api-service", "team-a")
API_V1_B: Final = Member("api-service-v1-b", "api-service", "team-a")
API_V2: Final = Member("api-service-v2", "api-service", "team-a", "v2")
ORDER_SERVICE: Final = Member("order-service", "order-service", "orders")
PAYMENT_SERVICE: Final = Member("payment-service", "payment-service", "payments")
PAYMENT_API: Final = Member("payment-api", "payment-api", "payments")
MEMBERS: Final = (
    FRONTEND,
    API_GATEWAY,
    API_V1_A,
    API_V1_B,
    API_V2,
    ORDER_SERVICE,
    PAYMENT_SERVICE,
    PAYMENT_API,
)
BY_NAME: Final = {member.name: member for member in MEMBERS}
