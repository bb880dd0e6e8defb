"""istiod's own golden pairs: AuthorizationPolicies and the filters that it makes of them.

They are not part of this repository: ../shared/istio-authz, where there is one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshsdk.control_plane.istio.authorization_policy import AuthorizationPolicy
from meshsdk.control_plane.istio.authz import authorization_filters
from meshsdk.control_plane.istio.ext_authz_provider import parse_ext_authz
from meshsdk.control_plane.istio.extension_providers import ExtensionProvider
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.mesh_config import MeshConfig
from meshsdk.control_plane.istio.nodes import read_nodes
from meshsdk.control_plane.istio.selectors import Workload
from meshsdk.control_plane.istio.spec_reader import SpecReader
from meshsdk.wire.json_form import normalize

_PAIRS = Path(__file__).parents[4] / "shared" / "istio-authz"
_INDEX: dict[str, Any] = (
    yaml.safe_load((_PAIRS / "cases.yaml").read_text()) if _PAIRS.exists() else {"cases": []}
)
_HTTP = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
_TCP = "envoy.config.listener.v3.Filter"


@pytest.mark.skipif(not _PAIRS.exists(), reason="needs ../shared/istio-authz")
def test_all_pairs_are_there() -> None:
    assert len(_INDEX["cases"]) == 29


@pytest.mark.parametrize("case", _INDEX["cases"], ids=lambda case: str(case["name"]))
def test_a_policy_becomes_the_filters_that_istiod_makes(case: Mapping[str, Any]) -> None:
    loaded = load({case["input"]: (_PAIRS / case["input"]).read_text()})
    services = {"my-custom-ext-authz.foo.svc.cluster.local": ("foo",)}
    workload = Workload("foo", {"app": "httpbin", "version": "v1"})

    found = authorization_filters(
        loaded.all(AuthorizationPolicy), workload, _mesh(case), services, "1.32"
    )

    assert not loaded.errors
    is_custom, is_tcp = bool(case.get("custom_builder")), case["protocol"] == "TCP"
    plain, custom = (found.tcp, found.custom_tcp) if is_tcp else (found.http, found.custom_http)
    message = _TCP if is_tcp else _HTTP
    expected = [
        normalize(message, yaml.safe_load((_PAIRS / name).read_text())) for name in case["outputs"]
    ]
    assert [normalize(message, each) for each in (custom if is_custom else plain)] == expected


def _mesh(case: Mapping[str, Any]) -> MeshConfig:
    name = case.get("extension_provider")
    providers = () if name is None else (_provider(_INDEX["extension_providers"][name]),)
    return MeshConfig(
        trust_domain=case.get("trust_domain", "cluster.local"),
        trust_domain_aliases=tuple(case.get("trust_domain_aliases", ())),
        extension_providers=providers,
    )


def _provider(written: Mapping[str, Any]) -> ExtensionProvider:
    """Without the checks of a MeshConfig: one of the providers is there to be invalid."""
    [kind] = [key for key in written if key != "name"]
    [node] = read_nodes(yaml.safe_dump(dict(written)), "cases.yaml")
    return ExtensionProvider(
        written["name"], kind, parse_ext_authz(SpecReader(node, "", None, []), kind)
    )
