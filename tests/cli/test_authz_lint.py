"""`meshsdk authz lint`: each finding has a policy that gets it, and a twin that does not."""

import json
from pathlib import Path

import pytest

from meshsdk.cli import main
from meshsdk.cli.authz.lint import lint

Json = dict[str, object]

STRICT = """\
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
MERGE = "pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}\n---"


def _policy(action: str, rules: str, name: str = "p") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {{action: {action}, rules: {rules}}}
"""


def _codes(tmp_path: Path, text: str) -> set[str]:
    (tmp_path / "policies.yaml").write_text(text)
    return {finding.code for finding in lint(tmp_path)}


PATH = "[{{to: [{{operation: {{paths: [{}]}}}}]}}]"
WHO = "[{{from: [{{source: {{{}}}}}]}}]"
# Code, text with it, text without it.
FINDINGS = [
    ("deny-path-slashes", _policy("DENY", PATH.format("/admin*")), MERGE + _policy("DENY", PATH.format("/admin*"))),
    ("deny-path-escaped-slashes", _policy("DENY", PATH.format("/a/b*")), MERGE + _policy("DENY", PATH.format("/a/b*"))),
    ("deny-path-exact", _policy("DENY", PATH.format("/admin")), _policy("DENY", PATH.format("/admin, /admin/*"))),
    ("path-with-query", _policy("ALLOW", PATH.format("'/a?x=1'")), _policy("ALLOW", PATH.format("/a"))),
    ("two-stars", _policy("ALLOW", PATH.format("'*admin*'")), _policy("ALLOW", PATH.format("'*admin'"))),
    ("permissive-identity", _policy("DENY", WHO.format("principals: ['*']")), _policy("DENY", WHO.format("principals: ['*']")) + STRICT),
    ("permissive-identity", _policy("ALLOW", WHO.format("notNamespaces: [evil]")), _policy("ALLOW", WHO.format("ipBlocks: [10.0.0.0/8]"))),
    ("permissive-identity", _policy("ALLOW", WHO.format("namespaces: [a]")), _policy("ALLOW", WHO.format("namespaces: [a]")) + STRICT),
    ("remote-ip-forged", _policy("ALLOW", WHO.format("remoteIpBlocks: [10.0.0.0/8]")), _policy("ALLOW", WHO.format("ipBlocks: [10.0.0.0/8]"))),
    ("deny-host-port", _policy("DENY", "[{to: [{operation: {hosts: [a.test]}}]}]"), _policy("DENY", "[{to: [{operation: {hosts: [a.test, 'a.test:*']}}]}]")),
    ("http-on-port", _policy("ALLOW", "[{to: [{operation: {methods: [GET], ports: ['80']}}]}]"), _policy("ALLOW", "[{to: [{operation: {ports: ['80']}}]}]")),
    ("unreachable-rule", _policy("ALLOW", "[{}, {to: [{operation: {methods: [GET]}}]}]"), _policy("ALLOW", "[{to: [{operation: {methods: [PUT]}}]}, {to: [{operation: {methods: [GET]}}]}]")),
    ("unreachable-policy", _policy("ALLOW", "[{}]") + "---" + _policy("DENY", "[{}]", "q"), _policy("ALLOW", "[{}]")),
    ("error", _policy("ALLOW", "[{too: []}]"), _policy("ALLOW", "[{}]")),
]  # fmt: skip


@pytest.mark.parametrize(("code", "guilty", "innocent"), FINDINGS)
def test_a_finding_is_made_where_it_belongs_and_nowhere_else(
    tmp_path: Path, code: str, guilty: str, innocent: str
) -> None:
    assert code in _codes(tmp_path, guilty)
    assert code not in _codes(tmp_path, innocent)


RULES: Json = {
    "action": "DENY",
    "policies": {
        "p": {
            "permissions": [{"url_path": {"path": {"prefix": "/admin"}}}],
            "principals": [{"authenticated": {}}],
        }
    },
}


def _envoy(hcm: dict[str, object], socket: object) -> object:
    prefix = "type.googleapis.com/envoy.extensions.filters."
    rbac: Json = {"@type": f"{prefix}http.rbac.v3.RBAC", "rules": RULES}
    manager: Json = {
        "@type": f"{prefix}network.http_connection_manager.v3.HttpConnectionManager",
        "http_filters": [{"name": "rbac", "typed_config": rbac}],
        **hcm,
    }
    chain: Json = {
        "filters": [{"name": "hcm", "typed_config": manager}],
        "transport_socket": socket,
    }
    return {"static_resources": {"listeners": [{"filter_chains": [chain]}]}}


@pytest.mark.parametrize(
    ("hcm", "socket", "codes"),
    [
        ({}, {"name": "tls"}, {"deny-path-slashes"}),
        ({"mergeSlashes": True}, {"name": "tls"}, set[str]()),
        ({"merge_slashes": True}, None, {"permissive-identity"}),
    ],
)
def test_envoy_configuration_is_looked_through(
    tmp_path: Path, hcm: dict[str, object], socket: object, codes: set[str]
) -> None:
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(_envoy(hcm, socket)))

    assert {finding.code for finding in lint(file)} == codes


def test_the_command_prints_file_and_line_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.yaml").write_text(_policy("ALLOW", PATH.format("'/a?x'")))

    code = main(["authz", "lint", str(tmp_path)])

    out = capsys.readouterr().out
    assert code == 1
    assert "p.yaml:2" in out
    assert "path-with-query: AuthorizationPolicy shop/p: the path /a?x matches nothing" in out


def test_nothing_found_is_said_and_succeeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.yaml").write_text(_policy("ALLOW", "[{}]"))

    assert main(["authz", "lint", str(tmp_path)]) == 0
    assert "nothing found" in capsys.readouterr().out
