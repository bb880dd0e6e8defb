"""Istio's and Kubernetes' YAML as nouns, and what istiod makes of them.

`KINDS` is the index: one file per kind, one line here.
"""

from typing import Final

from meshsdk.control_plane.istio import (
    authorization_policy,
    destination_rule,
    endpoint_slice,
    gateway,
    grpc_route,
    http_route,
    kubernetes_endpoints,
    kubernetes_service,
    namespace,
    peer_authentication,
    pod,
    proxy_config,
    request_authentication,
    secret,
    service_entry,
    sidecar,
    telemetry,
    virtual_service,
    workload_entry,
    workload_group,
)
from meshsdk.control_plane.istio.documents import Kind

KINDS: Final[tuple[Kind, ...]] = (
    authorization_policy.KIND,
    destination_rule.KIND,
    gateway.KIND,
    grpc_route.KIND,
    http_route.KIND,
    endpoint_slice.KIND,
    kubernetes_endpoints.KIND,
    kubernetes_service.KIND,
    namespace.KIND,
    pod.KIND,
    peer_authentication.KIND,
    proxy_config.KIND,
    request_authentication.KIND,
    secret.KIND,
    service_entry.KIND,
    sidecar.KIND,
    telemetry.KIND,
    virtual_service.KIND,
    workload_entry.KIND,
    workload_group.KIND,
)
