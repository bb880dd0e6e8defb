"""`meshsdk authz test`: policies tried out without a cluster."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from meshsdk.cli import main

POLICIES = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}, selector: {matchLabels: {app: pay}}, portLevelMtls: {9000: {mode: PERMISSIVE}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: order-may-pay, namespace: shop}
spec:
  selector: {matchLabels: {app: pay}}
  rules:
  - from: [{source: {principals: [cluster.local/ns/shop/sa/order]}}]
    to: [{operation: {methods: [POST], paths: [/pay]}}]
  - when: [{key: 'request.auth.claims[role]', values: [admin]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin*]}}]}]}
"""
ORDER = "source_principal: spiffe://cluster.local/ns/shop/sa/order"
OTHER = "source_principal: spiffe://cluster.local/ns/shop/sa/other"
PAY = "workload: {namespace: shop, labels: {app: pay}}"
CASES = f"""\
config: policies.yaml
cases:
- {{name: order pays, {PAY}, request: {{method: POST, path: /pay, {ORDER}}}, expect: allow, policy: order-may-pay}}
- {{name: order looks, {PAY}, request: {{method: GET, path: /pay, {ORDER}}}, expect: deny, policy: none}}
- {{name: other pays, {PAY}, request: {{method: POST, path: /pay, {OTHER}}}, expect: deny}}
- {{name: an admin, {PAY}, request: {{path: /x, {OTHER}, claims: {{role: admin}}}}, expect: allow}}
- {{name: no admin page, {PAY}, request: {{path: /public/../admin, {ORDER}, claims: {{role: admin}}}}, expect: deny, policy: shop/no-admin}}
- {{name: plaintext is closed, {PAY}, request: {{method: POST, path: /pay}}, expect: deny}}
- {{name: foreign trust domain, {PAY}, request: {{source_principal: spiffe://evil/ns/shop/sa/order}}, expect: deny}}
- {{name: elsewhere, workload: {{namespace: other}}, request: {{path: /admin}}, expect: allow}}
"""


def _write(tmp_path: Path, cases: str, policies: str = POLICIES) -> str:
    (tmp_path / "policies.yaml").write_text(policies)
    (tmp_path / "cases.yaml").write_text(cases)
    return str(tmp_path / "cases.yaml")


@pytest.mark.parametrize("indent", [None, 4])
def test_policies_may_be_json(
    indent: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy: dict[str, object] = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "nobody", "namespace": "shop"},
        "spec": {"action": "DENY", "rules": [{}]},
    }
    case = "- {name: x, workload: {namespace: shop}, request: {path: /}, expect: deny}"
    path = _write(
        tmp_path, f"config: policies.yaml\ncases: [{case[2:]}]", json.dumps(policy, indent=indent)
    )

    code = main(["authz", "test", path])

    assert code == 0, capsys.readouterr().err


def test_istio_policies_are_tried_on_a_workload(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["authz", "test", _write(tmp_path, CASES)])

    out = capsys.readouterr().out
    assert "8 of 8 as expected" in out
    assert code == 0


def test_a_case_that_fails_says_why_and_fails_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = f"- {{name: wrong, {PAY}, request: {{method: GET, path: /pay, {ORDER}}}, expect: allow}}"
    junit = tmp_path / "results.xml"

    code = main(
        ["authz", "test", _write(tmp_path, f"config: policies.yaml\ncases:\n{case}\n"), "--junit", str(junit)]
    )  # fmt: skip

    out = capsys.readouterr().out
    assert code == 1
    assert "FAIL wrong" in out
    assert "expected allow, found deny by no policy" in out
    assert "method: expected exact \"POST\", found 'GET'" in out
    [suite] = ET.fromstring(junit.read_text())
    assert suite.attrib["failures"] == "1"
    assert "found deny" in str(suite[0][0].attrib["message"])


def test_a_wrong_policy_is_a_failure_though_the_decision_is_right(tmp_path: Path) -> None:
    case = f"- {{name: x, {PAY}, request: {{path: /admin, {ORDER}}}, expect: deny, policy: other}}"

    assert (
        main(["authz", "test", _write(tmp_path, f"config: policies.yaml\ncases:\n{case}\n")]) == 1
    )


ENVOY = """\
config:
  route_config:
    virtual_hosts:
    - {name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: app}}]}
  http_filters:
  - name: envoy.filters.http.rbac
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
      rules:
        action: DENY
        policies:
          no-delete: {permissions: [{header: {name: ":method", string_match: {exact: DELETE}}}], principals: [{any: true}]}
cases:
- {name: get, request: {}, expect: allow}
- {name: delete, request: {method: DELETE}, expect: deny, policy: no-delete}
- {name: not a method, request: {method: delete, protocol: h2}, expect: deny}
"""


def test_envoy_configuration_is_tried_too_strict_unless_told_otherwise(tmp_path: Path) -> None:
    file = _write(tmp_path, ENVOY)

    assert main(["authz", "test", file]) == 0
    assert main(["authz", "test", file, "--envoy"]) == 1


def test_an_inline_text_of_istios_may_stand_in_the_file(tmp_path: Path) -> None:
    indented = "\n".join(f"  {line}" for line in POLICIES.splitlines())
    text = CASES.replace("config: policies.yaml", f"config: |\n{indented}")

    assert main(["authz", "test", _write(tmp_path, text, "unused: true")]) == 0


def test_a_tcp_port_is_judged_by_connection(tmp_path: Path) -> None:
    policy = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {rules: [{from: [{source: {namespaces: [shop]}}]}]}
"""
    tcp = "workload: {namespace: shop, protocol: tcp}"
    cases = f"""\
config: policies.yaml
cases:
- {{name: in, {tcp}, request: {{{ORDER}}}, expect: allow}}
- {{name: out, {tcp}, request: {{source_principal: spiffe://cluster.local/ns/x/sa/order}}, expect: deny}}
"""

    assert main(["authz", "test", _write(tmp_path, cases, policy)]) == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "config: policies.yaml\ncases: [{name: x, request: {}}]",
            "expect: expected allow or deny",
        ),
        ("config: policies.yaml\ncases: [{name: x, request: {}, expect: maybe}]", "expect"),
        ("config: policies.yaml\ncases: [{name: x, expects: deny, request: {}}]", "unknown field"),
        ("config: policies.yaml\ncases: []", "cases"),
        ("config: [1]\ncases: [{name: x, request: {}, expect: deny}]", "expected a path, a text"),
        ("config: missing.yaml\ncases: [{name: x, request: {}, expect: deny}]", "missing.yaml"),
    ],
)
def test_a_file_that_is_no_suite_is_an_error_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    assert main(["authz", "test", _write(tmp_path, text)]) == 2
    assert problem in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "missing" / "results.xml"

    code = main(["authz", "test", _write(tmp_path, CASES), "--junit", str(out)])

    assert code == 2
    assert f"--junit {out}: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("request_text", "problem"),
    [
        ("{source_principel: spiffe://a/b}", "'source_principel' of a request; did you mean"),
        ("{source_principal: cluster.local/ns/a/sa/b}", "source_principal: expected a SPIFFE ID"),
        ("{headers: {a: b}}", "headers: expected a list of [name, value], found a message"),
        ("{headers: [[a, 1]]}", "headers[0]: expected [name, value], two strings"),
        ("{path: 7}", "path: expected a string, found the number 7"),
        ("{dest_port: true}", "dest_port: expected an integer, found true"),
    ],
)
def test_a_request_of_wrong_fields_is_no_denial(
    tmp_path: Path, request_text: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = f"config: policies.yaml\ncases:\n- {{name: a, {PAY}, request: {request_text}, expect: deny}}"

    code = main(["authz", "test", _write(tmp_path, cases)])

    assert code == 2
    assert problem in capsys.readouterr().err


def test_a_custom_policy_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    custom = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: shop}
spec: {action: CUSTOM, provider: {name: ext}, rules: [{}]}
"""

    assert main(["authz", "test", _write(tmp_path, CASES, custom)]) == 2
    assert "AuthorizationPolicy shop/ask: CUSTOM" in capsys.readouterr().err


def test_broken_istio_yaml_is_told_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = POLICIES.replace("methods: [POST]", "method: [POST]")

    assert main(["authz", "test", _write(tmp_path, CASES, broken)]) == 2
    assert "policies.yaml:13" in capsys.readouterr().err
