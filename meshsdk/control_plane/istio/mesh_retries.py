"""The mesh config's `defaultHttpRetryPolicy`."""

from meshsdk.control_plane.istio.http_actions import RETRIES, Retries, parse_retries
from meshsdk.control_plane.istio.mesh_config import MeshConfig


def default_retries(mesh: MeshConfig) -> Retries | None:
    """What routes have that say nothing of retries; None is istiod's own default."""
    if mesh.rest is None:
        return None
    found = mesh.rest.message("defaultHttpRetryPolicy", RETRIES)
    return None if found is None else parse_retries(found)
