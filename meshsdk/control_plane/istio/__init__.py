"""Istio's and Kubernetes' YAML as nouns, and what istiod makes of them.

`KINDS` is the index: one file per kind, one line here.
"""

from typing import Final

from meshsdk.control_plane.istio import (
    authorization_policy,
    peer_authentication,
    request_authentication,
    sidecar,
    virtual_service,
)
from meshsdk.control_plane.istio.documents import Kind

KINDS: Final[tuple[Kind, ...]] = (
    authorization_policy.KIND,
    peer_authentication.KIND,
    request_authentication.KIND,
    sidecar.KIND,
    virtual_service.KIND,
)
