"""Rows of the threat model that are decisions: Istio's policies, a request, what must become of it.

The library's own flows decide, as strictly as a running mesh does. Each row has its twin beside it, so
that it fails when its guard is gone and when the guard refuses everybody.
"""

from typing import Any, Final

import pytest

from meshsdk.cli.authz.cases import Case, Suite
from meshsdk.cli.authz.verdicts import Result, run_suite

Json = dict[str, Any]


def _policy(action: str, rules: list[Json] | None, name: str = "p") -> Json:
    spec: Json = {"action": action}
    if rules is not None:
        spec["rules"] = rules
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def to(**operation: list[str]) -> list[Json]:
    return [{"to": [{"operation": operation}]}]


def source(**found: list[str]) -> list[Json]:
    return [{"from": [{"source": found}]}]


def role(*values: str, negated: bool = False) -> list[Json]:
    kind = "notValues" if negated else "values"
    return [{"when": [{"key": "request.headers[x-role]", kind: list(values)}]}]


def decide(policies: list[Json], request: Json, mode: str = "BASE") -> Result:
    """What becomes of one request."""
    import json

    mesh = {"pathNormalization": {"normalization": mode}, "trustDomain": "td.test"}
    texts = {"mesh.yaml": json.dumps(mesh)}
    texts |= {f"{i}.yaml": json.dumps(policy) for i, policy in enumerate(policies)}
    [result] = run_suite(Suite((Case("x", request, "deny"),), istio=texts), "strict")
    return result


DENY_ADMIN: Final = [_policy("DENY", to(paths=["/admin", "/admin/*"]))]
DENY_ADMIN_TREE: Final = [_policy("DENY", to(paths=["/admin*"]))]
ALLOW_PUBLIC: Final = [_policy("ALLOW", to(paths=["/public/*"]))]
MERGE: Final = "MERGE_SLASHES"
DECODE: Final = "DECODE_AND_MERGE_SLASHES"


def path(value: str, **more: object) -> Json:
    return {"path": value, **more}


# Row, policies, normalisation, request, decision.
PATHS: list[tuple[str, list[Json], str, Json, str]] = [
    ("P1", ALLOW_PUBLIC, "BASE", path("/public/../admin"), "deny"),
    ("P1", ALLOW_PUBLIC, "NONE", path("/public/../admin"), "allow"),
    *(
        ("P2", DENY_ADMIN_TREE, "BASE", path(f"/x/{dots}/admin"), "deny")
        for dots in ("..", "%2e%2e", "%2E%2E", "%2e.", ".%2e", "%2E.", ".%2E", "%2e%2E")
    ),
    ("P3", ALLOW_PUBLIC, "BASE", path("/public/..;/admin"), "deny"),
    ("P3", ALLOW_PUBLIC, "BASE", path("/public/a;/b"), "allow"),
    *(
        ("P4", ALLOW_PUBLIC, "BASE", path(target), "deny")
        for target in ("/public/%2e%2e;/admin", "/public/.%2e;/admin", "/public/%2e;/admin")
    ),
    ("P5", ALLOW_PUBLIC, DECODE, path("/public/..;%2fadmin"), "deny"),
    ("P6", DENY_ADMIN, "BASE", path("//admin"), "allow"),
    ("P6", DENY_ADMIN, MERGE, path("//admin"), "deny"),
    ("P7", [_policy("DENY", to(paths=["/"]))], MERGE, path("//"), "allow"),
    ("P7", [_policy("DENY", to(paths=["//"]))], MERGE, path("///"), "deny"),
    *(
        ("P8", DENY_ADMIN_TREE, DECODE, path(target), "deny")
        for target in ("/%2fadmin", "/public/..%2fadmin", "/x%2f..%2fadmin", "/%5cadmin")
    ),
    ("P8", DENY_ADMIN_TREE, "BASE", path("/%2fadmin"), "allow"),
    ("P10", DENY_ADMIN_TREE, DECODE, path("/x/%252e%252e/admin"), "allow"),
    ("P10", DENY_ADMIN_TREE, DECODE, path("/x%252fadmin"), "allow"),
    ("P11", ALLOW_PUBLIC, "BASE", path("/public\\..\\admin"), "deny"),
    ("P12", [_policy("DENY", to(paths=["/admin"]))], "BASE", path("/admin;x"), "allow"),
    ("P12", DENY_ADMIN_TREE, "BASE", path("/admin;x"), "deny"),
    ("P13", [], "BASE", path("/admin#x"), "deny"),
    ("P13", [], "BASE", path("/public#/../admin"), "deny"),
    ("P14", DENY_ADMIN, "BASE", path("/admin?x"), "deny"),
    ("P14", ALLOW_PUBLIC, "BASE", path("/public/?/../admin"), "allow"),
    ("P14", [_policy("ALLOW", to(paths=["*.js"]))], "BASE", path("/admin?x.js"), "deny"),
    ("P15", DENY_ADMIN, "BASE", path("/Admin"), "allow"),
    ("P16", [_policy("DENY", to(paths=["/admin"]))], "BASE", path("/admin/"), "allow"),
    ("P16", DENY_ADMIN, "BASE", path("/admin/"), "deny"),
    ("P17", [], "BASE", path("/admin%00.js"), "deny"),
    ("P17", [], "NONE", path("/admin%00.js"), "deny"),
    ("P18", [_policy("DENY", to(paths=["/%ff"]))], "BASE", path("/%ff"), "deny"),
    ("P18", [_policy("DENY", to(paths=["/%ff"]))], "BASE", path("/%fe"), "allow"),
    ("P19", [], "BASE", path("/adm\xedn"), "deny"),
    ("P19", [], "BASE", path("/adm\xedn", protocol="h2"), "deny"),
    ("P20", [_policy("DENY", to(paths=["/%7Ba%7D"]))], "BASE", path("/{a}"), "deny"),
    ("P20", [_policy("DENY", to(paths=["/[a]"]))], "BASE", path("/[a]"), "deny"),
    ("P21", [_policy("DENY", to(paths=["/api/{*}/view"]))], "BASE", path("/api/1[2]/view"), "deny"),
    (
        "P21",
        [_policy("ALLOW", to(paths=["/api/{*}/view"]))],
        "BASE",
        path("/api/1[2]/view"),
        "deny",
    ),
    ("P22", [_policy("DENY", to(paths=["/api/{*}"]))], "BASE", path("/api/a"), "deny"),
    ("P22", [_policy("DENY", to(paths=["/api/{*}"]))], "BASE", path("/api/"), "allow"),
    ("P22", [_policy("DENY", to(paths=["/api/{**}"]))], "BASE", path("/api/"), "deny"),
    ("P22", [_policy("DENY", to(paths=["/api/{**}"]))], "BASE", path("/api"), "allow"),
    ("P23", [_policy("DENY", to(paths=["*admin*"]))], "BASE", path("/x-admin-y"), "allow"),
    ("P23", [_policy("DENY", to(paths=["*admin*"]))], "BASE", path("/admin*"), "deny"),
    ("P24", [], "BASE", path("http://b/public"), "deny"),
    ("P25", [], "BASE", path("admin"), "deny"),
    ("P25", [], "BASE", path("pkg.Svc/Get", protocol="h2"), "deny"),
    ("P26", [], "BASE", path("a:80", method="CONNECT"), "deny"),
    ("P26", [], "BASE", path("*", method="OPTIONS"), "deny"),
    *(
        ("P28", DENY_ADMIN, "BASE", path("/open", headers=[[name, "/admin"]]), "allow")
        for name in ("x-envoy-original-path", "x-original-url", "x-rewrite-url")
    ),
    ("P28", DENY_ADMIN, "BASE", path("/admin", headers=[["x-original-url", "/open"]]), "deny"),
]


def headers(*pairs: tuple[str, str], **more: object) -> Json:
    return {"headers": [list(pair) for pair in pairs], **more}


GUEST, ADMIN = ("x-role", "guest"), ("x-role", "admin")
DENY_ROLE: Final = [_policy("DENY", role("admin"))]
DENY_HOST: Final = [_policy("DENY", to(hosts=["secret.test"]))]
DENY_DELETE: Final = [_policy("DENY", to(methods=["DELETE"]))]
FIELDS: list[tuple[str, list[Json], str, Json, str]] = [
    ("H1", DENY_ROLE, "BASE", headers(GUEST, ADMIN), "deny"),
    ("H1", [_policy("ALLOW", role("admin"))], "BASE", headers(GUEST, ADMIN), "allow"),
    ("H1", [_policy("ALLOW", role("guest", negated=True))], "BASE", headers(GUEST, ADMIN), "deny"),
    ("H2", DENY_ROLE, "BASE", headers(("x-role", "guest,admin")), "allow"),
    ("H4", DENY_ROLE, "BASE", headers(("x_role", "admin")), "allow"),
    ("H6", DENY_ROLE, "BASE", headers(("x-role", "admin \t")), "deny"),
    ("H7", [], "BASE", headers(("x-role", "guest\n admin")), "deny"),
    ("H8", [], "BASE", headers(("x", "a\rb")), "deny"),
    ("H8", [], "BASE", headers(("x", "a\x00b")), "deny"),
    ("H9", [_policy("DENY", role("adm*"))], "BASE", headers(("x-role", "admin\xff")), "deny"),
    ("H10", DENY_ROLE, "BASE", headers(ADMIN, ("connection", "x-role")), "allow"),
    ("H10", [], "BASE", headers(("connection", "x-forwarded-for")), "deny"),
    ("H13", [_policy("DENY", source(remoteIpBlocks=["203.0.113.7"]))], "BASE", headers(("x-forwarded-for", "203.0.113.7")), "deny"),
    ("H13", [_policy("DENY", source(ipBlocks=["203.0.113.7"]))], "BASE", headers(("x-forwarded-for", "203.0.113.7")), "allow"),
    ("H16", DENY_HOST, "BASE", {"authority": "SECRET.test"}, "deny"),
    ("H17", DENY_HOST, "BASE", {"authority": "secret.test:8080"}, "deny"),
    ("H17", DENY_HOST, "BASE", {"authority": "secret.test."}, "deny"),
    ("H17", [_policy("ALLOW", to(hosts=["ok.test"]))], "BASE", {"authority": "ok.test:8080"}, "deny"),
    ("H18", [], "BASE", {"authority": "ok.test,secret.test"}, "deny"),
    ("H18", [], "BASE", headers(("host", "secret.test"), authority="ok.test"), "deny"),
    *(
        ("H19", [], "BASE", {"authority": host}, "deny")
        for host in ("a.test/admin?", "a.test/?x=", "u@a.test", "a.test#x", "a.test\\", "a b")
    ),
    ("H21", [], "BASE", {"authority": None}, "deny"),
    ("H23", [], "BASE", {"method": "delete", "protocol": "h2"}, "deny"),
    ("H23", DENY_DELETE, "BASE", {"method": "DELETE", "protocol": "h2"}, "deny"),
    ("H24", [], "BASE", {"method": "GET /X", "protocol": "h2"}, "deny"),
    ("H25", DENY_DELETE, "BASE", headers(("x-http-method-override", "DELETE"), method="POST"), "allow"),
    ("H26", [], "BASE", headers(("content-length", "4"), ("transfer-encoding", "chunked")), "deny"),
    ("H26", [], "BASE", headers(("content-length", "0"), ("content-length", "0")), "deny"),
    ("H28", DENY_ADMIN, "BASE", headers(("connection", "upgrade"), ("upgrade", "websocket"), path="/admin"), "deny"),
    ("H28", [], "BASE", headers(("connection", "upgrade"), ("upgrade", "foo")), "deny"),
]  # fmt: skip

WHO: Final = "spiffe://td.test/ns/foo/sa/client"
SEEN: Final = {"source_principal": WHO}
RULES: list[tuple[str, list[Json], str, Json, str]] = [
    ("B1", [_policy("ALLOW", [{}]), _policy("DENY", to(methods=["GET"]), "d")], "BASE", {}, "deny"),
    ("B1", [_policy("ALLOW", [{}]), _policy("DENY", to(methods=["PUT"]), "d")], "BASE", {}, "allow"),
    ("B2", [], "BASE", {}, "allow"),
    ("B2", [_policy("ALLOW", None)], "BASE", {}, "deny"),
    ("B2", [_policy("ALLOW", [{}])], "BASE", {}, "allow"),
    ("B2", [_policy("DENY", [{}])], "BASE", {}, "deny"),
    ("B2", [_policy("AUDIT", [{}])], "BASE", {}, "allow"),
    ("B3", [_policy("ALLOW", None), _policy("ALLOW", to(methods=["GET"]), "q")], "BASE", {}, "allow"),
    ("B4", [_policy("ALLOW", role("guest", negated=True))], "BASE", {}, "allow"),
    ("B4", [_policy("ALLOW", to(methods=["GET", "PUT"], paths=["/a"]))], "BASE", path("/a"), "allow"),
    ("B4", [_policy("ALLOW", to(methods=["GET", "PUT"], paths=["/a"]))], "BASE", path("/b"), "deny"),
    ("B4", [_policy("ALLOW", to(methods=["GET"], notPaths=["/a"]))], "BASE", path("/a"), "deny"),
    ("B10", [_policy("DENY", source(principals=["*-x"]))], "BASE", {"source_principal": f"{WHO}-x"}, "deny"),
    ("B10", [_policy("DENY", source(principals=["*-x"]))], "BASE", SEEN, "allow"),
    ("B11", [_policy("ALLOW", source(serviceAccounts=["foo/cert.io"]))], "BASE", {"source_principal": "spiffe://td.test/ns/foo/sa/cert-io"}, "deny"),
    ("B11", [_policy("ALLOW", source(serviceAccounts=["foo/cert.io"]))], "BASE", {"source_principal": "spiffe://td.test/ns/foo/sa/cert.io"}, "allow"),
    ("B12", [_policy("ALLOW", source(serviceAccounts=["foo/client"]))], "BASE", {"source_principal": "spiffe://td.test.evil/ns/foo/sa/client"}, "deny"),
    ("B12", [_policy("ALLOW", source(serviceAccounts=["foo/client"]))], "BASE", SEEN, "allow"),
    ("B14", [_policy("ALLOW", source(principals=["*"]))], "BASE", SEEN, "allow"),
    ("B14", [_policy("ALLOW", source(principals=["*"]))], "BASE", {}, "deny"),
    ("A10", [_policy("ALLOW", source(principals=["*"]))], "BASE", headers(("x-forwarded-client-cert", f"URI={WHO}")), "deny"),
    ("H11", [_policy("ALLOW", [{"when": [{"key": "request.headers[x-forwarded-client-cert]", "values": ["*evil*"]}]}])], "BASE", headers(("x-forwarded-client-cert", "URI=evil")), "deny"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "policies", "mode", "request_", "decision"), [*PATHS, *FIELDS, *RULES]
)
def test_a_row_is_decided_as_the_threat_model_says(
    row: str, policies: list[Json], mode: str, request_: Json, decision: str
) -> None:
    found = decide(policies, request_, mode)

    assert found.found == decision, (row, found.details, found.why)


def test_b18_a_dry_run_never_enforces_and_is_never_skipped() -> None:
    policy = _policy("DENY", [{}])
    policy["metadata"]["annotations"] = {"istio.io/dry-run": "true"}

    found = decide([policy], {})

    assert found.found == "allow"
    assert "denied (dry run)" in found.why[0]


def test_z11_the_caller_is_not_told_which_policy_matched() -> None:
    found = decide([_policy("DENY", [{}], "secret-name")], {})

    assert "secret-name" in found.policy
    # What callers get is a constant: tests/filters/test_rbac.py.
    assert found.details.startswith("rbac_access_denied_matched_policy[")
