"""Istio's policies for one workload, in the form that the checker runs."""

from collections.abc import Mapping
from typing import Final

from meshsdk.cli.authz.cases import WorkloadSpec
from meshsdk.cli.check.case import Json
from meshsdk.control_plane.istio.authn import KeySets, jwt_filter
from meshsdk.control_plane.istio.authorization_policy import AuthorizationPolicy
from meshsdk.control_plane.istio.authz import authorization_filters
from meshsdk.control_plane.istio.loader import Loaded
from meshsdk.control_plane.istio.peer_authentication import PeerAuthentication, inbound_mtls
from meshsdk.control_plane.istio.request_authentication import JwtRule, RequestAuthentication
from meshsdk.control_plane.istio.selectors import Workload, of_workload
from meshsdk.errors import ConfigError

NORMALIZATION: Final[Mapping[str, Json]] = {
    "NONE": {},
    "BASE": {"normalize_path": True},
    "MERGE_SLASHES": {"normalize_path": True, "merge_slashes": True},
    "DECODE_AND_MERGE_SLASHES": {
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
    },
}
"""Of MeshConfig.pathNormalization, as istiod writes it."""
_APP: Final = {
    "name": "inbound",
    "virtual_hosts": [
        {
            "name": "inbound",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}],
        }
    ],
}


def _not_fetched(rule: JwtRule) -> str | None:
    del rule
    return None


def config_of(loaded: Loaded, spec: WorkloadSpec, unusable_keys: str) -> Json:
    """The inbound side of a workload's port. `unusable_keys`: for rules whose keys are elsewhere.

    ConfigError for a CUSTOM policy: what its authorizer would say is not known here.
    """
    workload = Workload(spec.namespace, dict(spec.labels))
    mesh = loaded.mesh_config
    policies = loaded.all(AuthorizationPolicy)
    for policy in of_workload(policies, workload, mesh.root_namespace):
        if policy.action == "CUSTOM":
            name = f"{policy.metadata.namespace}/{policy.metadata.name}"
            problem = "CUSTOM asks an external authorizer, which is not simulated"
            raise ConfigError(f"AuthorizationPolicy {name}", problem)
    mtls = inbound_mtls(loaded.all(PeerAuthentication), workload, mesh.root_namespace)
    mode = mtls.of(spec.port)
    prefixes = (f"spiffe://{name}/" for name in mesh.trust_domains)
    listener: Json = {
        "mode": {"DISABLE": "PLAINTEXT"}.get(mode, mode),
        "require_client_certificate": mode != "DISABLE",
        "san_matchers": [{"san_type": "URI", "matcher": {"prefix": each}} for each in prefixes],
    }
    filters = authorization_filters(policies, workload, mesh, {})
    if spec.is_tcp:
        return {"route_config": _APP, "listener": listener, "network_filters": list(filters.tcp)}
    jwt = jwt_filter(
        loaded.all(RequestAuthentication), workload, mesh, KeySets(_not_fetched, unusable_keys)
    )
    return {
        "route_config": _APP,
        "listener": listener,
        "hcm": {
            **NORMALIZATION[mesh.path_normalization],
            "upgrade_configs": [{"upgrade_type": "websocket"}],
        },
        "http_filters": [*([] if jwt is None else [jwt]), *filters.http],
    }
