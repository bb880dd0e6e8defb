"""Istio's and Kubernetes' YAML as nouns, and what istiod makes of them.

`KINDS` is the index: one file per kind, one line here.
"""

from typing import Final

from meshsdk.control_plane.istio import (
    authorization_policy,
)
from meshsdk.control_plane.istio.documents import Kind

KINDS: Final[tuple[Kind, ...]] = (authorization_policy.KIND,)
