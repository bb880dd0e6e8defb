"""`meshsdk control-plane`: check and dump."""

import json
from pathlib import Path
from typing import Any

import pytest

from meshsdk.cli import main

NODE = {
    "id": "sidecar~10.0.0.1~cart-1.shop~shop.svc.cluster.local",
    "metadata": {"NAMESPACE": "shop"},
}
CART = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: cart}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart-1, namespace: shop}
spec: {address: 10.0.0.1, labels: {app: cart}, serviceAccount: cart}
"""
JWT = """\
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt, namespace: shop}
spec: {jwtRules: [{issuer: a, jwksUri: 'https://keys.example/jwks'}]}
"""
KEYS = '{"keys": [{"kty": "oct", "kid": "given", "k": "c2VjcmV0"}]}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "cart.yaml").write_text(CART)
    (tmp_path / "node.json").write_text(json.dumps(NODE))
    return tmp_path


def _dump(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> Any:
    node = str(folder / "node.json")
    assert main(["control-plane", str(folder / "config"), "--dump", node, *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_broken_document_is_named_by_its_place(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = folder / "config" / "broken.yaml"
    broken.write_text(CART.replace("resolution: STATIC", "resolutoin: STATIC", 1))

    code = main(["control-plane", "--check", str(folder / "config")])

    said = capsys.readouterr().err
    assert code == 1
    assert f"{broken}:7:3: spec.resolutoin: unknown field, did you mean resolution?" in said


def test_good_documents_pass_the_check(folder: Path) -> None:
    assert main(["control-plane", "--check", str(folder / "config")]) == 0


def test_a_dump_has_what_the_node_would_get(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = _dump(folder, capsys)

    assert set(state) == {"CDS", "EDS", "LDS", "RDS", "NDS", "ECDS", "PCDS"}
    assert "inbound|8080||" in state["CDS"]
    assert set(state["EDS"]) == {"outbound|80||cart.shop.svc.cluster.local"}
    assert "virtualInbound" in state["LDS"]
    assert set(state["RDS"]) == {"80"}


def test_a_broken_document_takes_no_other_down(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config" / "broken.yaml").write_text("{")

    assert "inbound|8080||" in _dump(folder, capsys)["CDS"]


def test_a_given_key_set_stands_for_its_uri(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config" / "jwt.yaml").write_text(JWT)
    (folder / "keys.json").write_text(KEYS)

    state = _dump(folder, capsys, "--jwks", f"https://keys.example/jwks={folder / 'keys.json'}")

    assert json.dumps(KEYS)[1:-1] in json.dumps(state["LDS"])


def test_a_file_that_is_no_key_set_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = folder / "keys.json"
    keys.write_text("a: b")

    code = main(["control-plane", str(folder), "--jwks", f"https://keys.example/jwks={keys}"])

    assert code == 2
    assert f"--jwks: {keys}: expected a JSON Web Key Set" in capsys.readouterr().err


def test_proxies_may_fetch_key_sets_themselves(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config" / "jwt.yaml").write_text(JWT)

    state = _dump(folder, capsys, "--remote-jwks")

    assert '"uri": "https://keys.example/jwks"' in json.dumps(state["LDS"])


def test_names_that_nothing_names_are_empty(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = _dump(folder, capsys, "--also", "RDS=9999", "--also", "EDS=outbound|1||x")

    assert state["EDS"]["outbound|1||x"] == {"cluster_name": "outbound|1||x"}
    assert [each["name"] for each in state["RDS"]["9999"]["virtual_hosts"]] == ["allow_any"]


@pytest.mark.parametrize("node", ["{", "[]", '{"id": "x"}', '{"id": "waypoint~a~b.c~d"}'])
def test_a_node_that_is_none_is_refused(
    folder: Path, node: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "node.json").write_text(node)

    code = main(["control-plane", str(folder / "config"), "--dump", str(folder / "node.json")])

    assert code == 2
    assert "expected" in capsys.readouterr().err
