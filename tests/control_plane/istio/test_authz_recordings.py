"""The filters that a real istiod 1.29.6 made of the same YAML."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from meshsdk.control_plane.istio.authn import KeySets, jwt_filter
from meshsdk.control_plane.istio.authorization_policy import AuthorizationPolicy
from meshsdk.control_plane.istio.authz import authorization_filters
from meshsdk.control_plane.istio.loader import Loaded, load
from meshsdk.control_plane.istio.peer_authentication import PeerAuthentication, inbound_mtls
from meshsdk.control_plane.istio.request_authentication import (
    JwtRule,
    RequestAuthentication,
    key_set_problem,
)
from meshsdk.control_plane.istio.selectors import Workload
from meshsdk.identity.unusable_jwks import make_unusable_jwks
from tests import recorded_inputs, recordings

_ACCESS = ("rbac", "ext_authz")
_SERVICES = {
    "ext-authz.auth.svc.cluster.local": ("auth",),
}
_NODES = [
    (folder, node)
    for folder, node, _ in recordings.states()
    if folder in ("01-seed-mesh", "03-authorization", "10-grpc") and node.startswith("sidecar-")
]


@pytest.mark.parametrize(("folder", "node"), _NODES)
def test_every_chain_has_the_filters_that_istiod_made(folder: str, node: str) -> None:
    loaded = load(recorded_inputs.inputs(folder))
    metadata: Any = recordings.node(folder, node)["metadata"]
    workload = Workload(metadata["NAMESPACE"], metadata["LABELS"])

    found = authorization_filters(
        loaded.all(AuthorizationPolicy), workload, loaded.mesh_config, _SERVICES
    )

    for chain in _chains(folder, node):
        http, network = _http_filters(chain), chain["filters"]
        if http is not None:
            assert list(found.custom_http + found.http) == _of_access(http), chain["name"]
            assert not _of_access(network)
        elif chain["name"] != "virtualInbound-blackhole":
            assert list(found.custom_tcp + found.tcp) == _of_access(network), chain["name"]


@pytest.mark.parametrize(
    "app",
    ["one-inline", "uri", "failing", "many", "locations", "outputs", "claims", "no-key"],
)
def test_the_token_filter_is_that_of_istiod(app: str) -> None:
    loaded = load(recorded_inputs.inputs("04-jwt"))
    unusable = make_unusable_jwks()

    found = jwt_filter(
        loaded.all(RequestAuthentication),
        Workload("shop", {"app": app}),
        loaded.mesh_config,
        KeySets(_fetch_from(loaded), unusable),
    )

    expected = _jwt_of("04-jwt", app)
    if app in ("failing", "no-key"):
        recorded = expected["typed_config"]["providers"]["origins-0"]["local_jwks"]
        assert key_set_problem(recorded["inline_string"]) is None
        assert found is not None
        expected = _with_key_set(expected, unusable)
    assert found == expected


@pytest.mark.parametrize("app", ["remote-jwks-uri", "remote-jwks-failing"])
def test_key_sets_can_be_left_to_the_proxies(app: str) -> None:
    loaded = load(recorded_inputs.inputs("04-jwt"))
    workload = Workload("shop", {"app": app.removeprefix("remote-jwks-")})
    key_sets = KeySets(lambda _rule: None, make_unusable_jwks(), is_remote=True)

    policies = loaded.all(RequestAuthentication)

    assert jwt_filter(policies, workload, loaded.mesh_config, key_sets) == _jwt_of("04-jwt", app)


def test_a_workload_without_rules_has_no_token_filter() -> None:
    loaded = load(recorded_inputs.inputs("04-jwt"))
    key_sets = KeySets(lambda _rule: None, "")

    policies = loaded.all(RequestAuthentication)

    workload = Workload("shop", {"app": "plain-http"})
    assert jwt_filter(policies, workload, loaded.mesh_config, key_sets) is None


@pytest.mark.parametrize("mesh", ["mesh-permissive", "mesh-strict"])
@pytest.mark.parametrize(
    "namespace", ["inherit", "strict", "permissive", "disabled", "mixed", "nolabel"]
)
def test_each_port_has_the_mode_that_istiod_made_chains_for(mesh: str, namespace: str) -> None:
    folder = f"02-peer-authentication/{mesh}"
    loaded = load(recorded_inputs.inputs(folder))

    found = inbound_mtls(
        loaded.all(PeerAuthentication),
        Workload(namespace, {"app": "server"}),
        loaded.mesh_config.root_namespace,
    )

    modes: dict[int, set[str]] = {}
    for chain in _chains(folder, f"server-{namespace}"):
        match = chain["filter_chain_match"]
        port = match.get("destination_port", 0)
        if port != 15006:
            kind = "mtls" if "transport_socket" in chain else match.get("transport_protocol")
            modes.setdefault(port, set()).add("plain" if kind == "raw_buffer" else str(kind))
    assert {port: _mode(kinds) for port, kinds in modes.items()} == {
        port: found.of(port) for port in modes
    }
    assert len(modes) >= 6


def _mode(kinds: set[str]) -> str:
    if "mtls" not in kinds:
        return "DISABLE"
    return "PERMISSIVE" if "plain" in kinds else "STRICT"


def _chains(folder: str, node: str) -> Iterator[Mapping[str, Any]]:
    listener: Any = recordings.state(folder, node)["LDS"]["virtualInbound"]
    yield from listener["filter_chains"]


def _http_filters(chain: Mapping[str, Any]) -> list[Any] | None:
    for each in chain["filters"]:
        if "http_filters" in each["typed_config"]:
            found: list[Any] = each["typed_config"]["http_filters"]
            return found
    return None


def _of_access(filters: list[Any]) -> list[Any]:
    return [each for each in filters if each["name"].rpartition(".")[2] in _ACCESS]


def _jwt_of(folder: str, app: str) -> Any:
    for chain in _chains(folder, app):
        for each in _http_filters(chain) or ():
            if each["name"] == "envoy.filters.http.jwt_authn":
                return each
    raise AssertionError("no jwt_authn")


def _with_key_set(jwt: Any, key_set: str) -> Any:
    config = jwt["typed_config"]
    provider = {**config["providers"]["origins-0"], "local_jwks": {"inline_string": key_set}}
    return {**jwt, "typed_config": {**config, "providers": {"origins-0": provider}}}


def _fetch_from(loaded: Loaded) -> Any:
    """What was served at the recorded URI: the key set that the other rules hold."""
    [served] = {
        rule.jwks for each in loaded.all(RequestAuthentication) for rule in each.rules if rule.jwks
    }

    def fetch(rule: JwtRule) -> str | None:
        return served if rule.jwks_uri.endswith("/app/jwks.json") else None

    return fetch
