"""What istiod refuses in an AuthorizationPolicy we refuse too, with one exception."""

import json
from typing import Any

import pytest

from meshsdk.control_plane.istio.authorization_policy import AuthorizationPolicy
from meshsdk.control_plane.istio.authz import authorization_filters
from meshsdk.control_plane.istio.loader import Loaded, load
from meshsdk.control_plane.istio.mesh_config import MeshConfig
from meshsdk.control_plane.istio.selectors import Workload
from tests.filters.policy_case import Given, build, is_allowed


def _load(spec: str, *, namespace: str = "ns", annotations: str = "{}", name: str = "p") -> Loaded:
    text = f"""\
apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: {namespace}, annotations: {annotations}}}
spec: {spec}
"""
    return load({"f.yaml": text})


def _source(fields: str) -> str:
    return f"{{rules: [{{from: [{{source: {fields}}}]}}]}}"


def _operation(fields: str) -> str:
    return f"{{rules: [{{to: [{{operation: {fields}}}]}}]}}"


def _when(fields: str) -> str:
    return f"{{rules: [{{when: [{fields}]}}]}}"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("{action: DENY}", "spec: DENY without rules is never triggered"),
        ("{action: CUSTOM}", "spec: CUSTOM without rules is never triggered"),
        ("{action: CUSTOM, rules: [{}]}", "spec: expected provider, found none"),
        ("{action: CUSTOM, rules: [{}], provider: {}}", "spec.provider: expected name, found none"),
        ("{provider: {name: x}}", "spec.provider: is for action CUSTOM, found ALLOW"),
        ("{targetRefs: []}", "spec.targetRefs: refused: policies of waypoints and gateways are"),
        ("{selector: {matchLabels: {app: '*'}}}", "spec.selector.matchLabels: no wildcards here"),
        ("{rules: [{from: []}]}", "spec.rules[0].from: must not be empty"),
        ("{rules: [{to: []}]}", "spec.rules[0].to: must not be empty"),
        ("{rules: [{from: [{}]}]}", "spec.rules[0].from[0]: expected source, found none"),
        ("{rules: [{to: [{}]}]}", "spec.rules[0].to[0]: expected operation, found none"),
        (_source("{}"), "spec.rules[0].from[0].source: must not be empty"),
        (_source("{principals: []}"), "spec.rules[0].from[0].source: must not be empty"),
        (_operation("{}"), "spec.rules[0].to[0].operation: must not be empty"),
        (_source("{notPrincipals: ['']}"), ".source.notPrincipals[0]: an empty value is not"),
        (_source("{ipBlocks: [10.0.0.0/33]}"), ".source.ipBlocks[0]: expected a CIDR such as"),
        (_source("{ipBlocks: [10.0.0.0/255.0.0.0]}"), ".ipBlocks[0]: expected a CIDR such as"),
        (_source("{remoteIpBlocks: [x]}"), ".remoteIpBlocks[0]: expected an IP address or CIDR"),
        (_source("{serviceAccounts: ['a*']}"), ".serviceAccounts[0]: no wildcards here"),
        (_source("{serviceAccounts: [a/b/c]}"), ".serviceAccounts[0]: expected serviceAccount or"),
        (_source("{serviceAccounts: [/b]}"), ".serviceAccounts[0]: expected serviceAccount or"),
        (
            _source(f"{{serviceAccounts: {json.dumps(['a'] * 17)}}}"),
            ".serviceAccounts: expected at most 16 values, found 17",
        ),
        (
            _source("{serviceAccounts: [a], namespaces: [b]}"),
            ".source: serviceAccounts do not go with namespaces or principals",
        ),
        (_operation("{ports: ['65536']}"), ".ports[0]: expected a port of 0 to 65535"),
        (_operation("{ports: [http]}"), ".ports[0]: expected a port of 0 to 65535"),
        (_operation("{paths: ['/{**}/{*}']}"), ".paths[0]: {**} must be the last operator"),
        (_operation("{paths: ['/{id}']}"), ".paths[0]: { and } are for the operators"),
        (_operation("{notPaths: ['/a*/{*}']}"), ".notPaths[0]: the segment 'a*' does not go with"),
        (_when("{key: source.ip}"), "spec.rules[0].when[0]: expected values or notValues"),
        (_when("{values: [a]}"), "spec.rules[0].when[0]: expected key, found none"),
        (_when("{key: source.ipp, values: [a]}"), ".key: unknown attribute source.ipp, did you"),
        (_when("{key: destination.port, values: [a]}"), ".values[0]: expected a port"),
        (_when("{key: source.ip, notValues: [a]}"), ".notValues[0]: expected an IP address"),
        (_when("{key: 'request.headers', values: [a]}"), ".key: expected request.headers[name]"),
        (_when("{key: 'request.headers[]', values: [a]}"), ".key: expected request.headers[name]"),
        (_when("{key: 'request.headersx[a]', values: [a]}"), ".key: expected request.headers[na"),
        (_when("{key: 'request.headers[a][b]', values: [a]}"), ".key: expected one name in"),
        (_when("{key: 'request.headers[a]', notValues: ['', b]}"), ".notValues[0]: an empty value"),
        (_when("{key: 'request.headers[a]', values: ['']}"), ".values[0]: an empty value is not"),
        (_when("{key: source.principal, notValues: ['']}"), ".notValues[0]: an empty value is not"),
        (
            "{action: DENY, rules: [{when: [{key: 'request.headers[a]', notValues: ['']}]}]}",
            ".notValues[0]: an empty value is not allowed",
        ),
        (
            "{action: CUSTOM, provider: {name: x}, rules: [{from: [{source: {namespaces: [a]}}]}]}",
            ".source: namespaces is not supported with action CUSTOM",
        ),
        (
            "{action: CUSTOM, provider: {name: x}, "
            "rules: [{when: [{key: 'request.auth.claims[a]', values: [a]}]}]}",
            ".key: request.auth.claims[a] is not supported with action CUSTOM",
        ),
    ],
)
def test_what_istiod_refuses_is_refused(spec: str, problem: str) -> None:
    loaded = _load(spec)

    [error] = loaded.errors
    assert problem in str(error)
    assert str(error).startswith("f.yaml:4:")
    assert not loaded.documents


@pytest.mark.parametrize(
    ("spec", "annotation", "problem"),
    [
        ("{action: AUDIT, rules: [{}]}", "true", "is for actions ALLOW and DENY, found AUDIT"),
        ("{}", "maybe", "expected true or false, found 'maybe'"),
    ],
)
def test_the_dry_run_annotation_is_judged(spec: str, annotation: str, problem: str) -> None:
    loaded = _load(spec, annotations=f"{{istio.io/dry-run: '{annotation}'}}")

    [error] = loaded.errors
    assert f"metadata.annotations.istio.io/dry-run: {problem}" in str(error)


def test_a_header_that_must_not_be_the_empty_string_must_be_there_and_filled() -> None:
    loaded = _load(_when("{key: 'request.headers[x-request-id]', notValues: ['']}"))

    [rbac] = _http(loaded, Workload("ns"))

    assert not loaded.errors
    [warning] = loaded.problems
    assert warning.severity == "warning" and 'values: ["*"]' in warning.text
    header = {"name": "x-request-id", "string_match": {"safe_regex": {"regex": ".+"}}}
    [policy] = _policies(rbac).values()
    assert policy["principals"] == [
        {"and_ids": {"ids": [{"or_ids": {"ids": [{"header": header}]}}]}}
    ]


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [((), False), ((("x-request-id", ""),), False), ((("x-request-id", "7"),), True)],
)
def test_a_header_that_must_be_filled_is_judged_by_our_own_rbac(
    headers: tuple[tuple[str, str], ...], allowed: bool
) -> None:
    loaded = _load(_when("{key: 'request.headers[x-request-id]', notValues: ['']}"))

    [rbac] = _http(loaded, Workload("ns"))

    config: Any = rbac["typed_config"]
    assert is_allowed(build(config), Given(headers=headers)) is allowed


def test_a_deny_rule_of_http_alone_warns_that_it_denies_tcp() -> None:
    loaded = _load("{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}")

    [warning] = loaded.problems

    assert warning.severity == "warning"
    assert "denies everything on TCP ports" in str(warning)


@pytest.mark.parametrize(
    ("namespace", "labels", "chosen"),
    [
        ("ns", {"app": "a"}, {"root", "own", "chosen"}),
        ("ns", {"app": "b"}, {"root", "own"}),
        ("other", {"app": "a"}, {"root"}),
        ("istio-system", {"app": "a"}, {"root"}),
    ],
)
def test_policies_of_the_root_namespace_and_of_the_own_one_apply(
    namespace: str, labels: dict[str, str], chosen: set[str]
) -> None:
    texts = {
        "root": _text("root", "istio-system", "{rules: [{}]}"),
        "own": _text("own", "ns", "{}"),
        "chosen": _text("chosen", "ns", "{selector: {matchLabels: {app: a}}}"),
        "elsewhere": _text("elsewhere", "third", "{}"),
    }

    [rbac] = _http(load(texts), Workload(namespace, labels))

    assert {key.split("policy[")[1].split("]")[0] for key in _policies(rbac)} == chosen


def _text(name: str, namespace: str, spec: str) -> str:
    return f"""\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def _http(loaded: Loaded, workload: Workload) -> tuple[dict[str, object], ...]:
    policies = loaded.all(AuthorizationPolicy)
    return authorization_filters(policies, workload, MeshConfig(), {}).http


def _policies(rbac: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = rbac["typed_config"]["rules"]["policies"]
    return found
