"""Texts to nouns: what is refused, where, and that it costs nothing else."""

import pytest

from meshsdk.control_plane.istio.authorization_policy import AuthorizationPolicy
from meshsdk.control_plane.istio.loader import Loaded, Loader, load
from meshsdk.control_plane.istio.peer_authentication import PeerAuthentication

_POLICY = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: {name}
  namespace: payments
spec: {spec}
"""
_PEERS = """\
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""


def _policy(name: str = "p", spec: str = "{}") -> str:
    return _POLICY.replace("{name}", name).replace("{spec}", spec)


def _errors(text: str) -> list[str]:
    return [str(problem) for problem in load({"f.yaml": text}).errors]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            _policy(spec="{action: ALLOW, ruels: []}"),
            "f.yaml:6:23: spec.ruels: unknown field, did you mean rules?",
            id="unknown field of a spec",
        ),
        pytest.param(
            _policy(spec="{rules: [{to: [{operation: {method: [GET]}}]}]}"),
            "f.yaml:6:35: spec.rules[0].to[0].operation.method: unknown field, "
            "did you mean methods?",
            id="unknown field far inside",
        ),
        pytest.param(
            _policy().replace("  namespace", "  namspace"),
            "f.yaml:5:3: metadata.namspace: unknown field, did you mean namespace?",
            id="unknown field of metadata",
        ),
        pytest.param(
            _policy().replace("spec:", "specs:"),
            "f.yaml:6:1: specs: unknown field, did you mean spec?",
            id="unknown field of the document",
        ),
        pytest.param(
            _policy(spec="{action: PERMIT}"),
            "f.yaml:6:16: spec.action: expected one of ALLOW, DENY, AUDIT, CUSTOM, found 'PERMIT'",
            id="enum",
        ),
        pytest.param(
            _policy(spec="{rules: [{to: [{operation: {ports: [80]}}]}]}"),
            "f.yaml:6:43: spec.rules[0].to[0].operation.ports[0]: expected a string, "
            "found the number 80",
            id="type of an item",
        ),
        pytest.param(
            _policy(spec="{rules: {}}"),
            "f.yaml:6:15: spec.rules: expected a list, found a message",
            id="type",
        ),
        pytest.param(
            _policy(spec="{rules: [null]}"),
            "f.yaml:6:16: spec.rules[0]: expected a message, found nothing",
            id="nothing in a list",
        ),
        pytest.param(
            _policy().replace("  name: p\n", ""),
            "f.yaml:4:3: metadata: expected name, found none",
            id="no name",
        ),
        pytest.param(
            _policy(name="Upper"),
            "f.yaml:4:9: metadata.name: expected lower case letters, digits, - and ., "
            "found 'Upper'",
            id="name",
        ),
        pytest.param(
            "kind: AuthorizationPolicy\n",
            "f.yaml:1:1: expected apiVersion and kind, found no apiVersion",
            id="no apiVersion",
        ),
        pytest.param(
            _policy().replace("istio.io/v1", "istio.io/v2"),
            "f.yaml:1:13: apiVersion: expected one of v1, v1beta1 of security.istio.io, found v2",
            id="version",
        ),
        pytest.param(
            _policy().replace("security.istio", "networking.istio"),
            "f.yaml:1:13: apiVersion: expected AuthorizationPolicy of security.istio.io, "
            "found networking.istio.io",
            id="group of another kind",
        ),
        pytest.param(
            _policy().replace("security.istio.io", "security.istio.oi"),
            "f.yaml:1:13: apiVersion: unknown group security.istio.oi, "
            "did you mean security.istio.io?",
            id="a group that is nearly ours",
        ),
        pytest.param(
            _policy().replace("AuthorizationPolicy", "AuthorisationPolicy"),
            "f.yaml:2:7: kind: AuthorisationPolicy of security.istio.io is not built, "
            "did you mean AuthorizationPolicy?",
            id="kind",
        ),
        pytest.param(
            "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: x}\n",
            "f.yaml:2:7: kind: EnvoyFilter of networking.istio.io is not built",
            id="a kind of Istio that is not built",
        ),
        pytest.param(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: x}\n",
            "f.yaml:2:7: kind: Gateway of gateway.networking.k8s.io is not built",
            id="a kind of the Gateway API that is not built",
        ),
        pytest.param(
            "trustDomian: x\n",
            "f.yaml:1:1: trustDomian: unknown field, did you mean trustDomain?",
            id="unknown field of the mesh config",
        ),
        pytest.param("- a\n", "f.yaml:1:1: expected a document that is a mapping", id="no mapping"),
        pytest.param("a: b: c\n", "f.yaml:1:5: not YAML: ", id="no YAML"),
        pytest.param("a: 1\na: 2\n", "f.yaml:2:1: the key 'a' is there twice", id="key twice"),
        pytest.param("a: *b\n", "f.yaml:1:4: the alias *b has no value before it", id="alias"),
        pytest.param(
            "a: &x\n  b: *x\n", "f.yaml:2:6: the alias *x has no value before it", id="loop"
        ),
        pytest.param("a: !!python/name:x y\n", "f.yaml:1:4: the tag ", id="tag"),
        pytest.param(
            "a: " + "[" * 200, "f.yaml:1:104: expected a depth of at most 100", id="depth"
        ),
    ],
)
def test_a_problem_says_where_and_what(text: str, expected: str) -> None:
    [found] = _errors(text)

    assert found == expected or (expected.endswith(" ") and found.startswith(expected))


def test_aliases_cannot_grow_without_bounds() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]

    [found] = _errors("\n".join(lines))

    assert found.startswith("f.yaml:") and "expected at most 5000000 values" in found


def test_anchors_and_merges_work_as_in_kubectl() -> None:
    text = _policy(spec="{selector: {matchLabels: &l {app: a}}, rules: []}") + (
        "---\n" + _policy("q", "{selector: {matchLabels: {<<: {app: b}, v: v1}}}")
    )

    loaded = load({"f.yaml": text})

    selectors = [policy.selector for policy in loaded.all(AuthorizationPolicy)]
    assert selectors == [{"app": "a"}, {"app": "b", "v": "v1"}]


def test_bad_documents_do_not_take_down_good_ones() -> None:
    text = "---\n".join([_policy("one"), "a: b: c\n", _policy("two", "{x: 1}"), _policy("three")])

    loaded = load({"f.yaml": text, "g.yaml": _PEERS, "h.yaml": "{"})

    assert [each.metadata.name for each in loaded.all(AuthorizationPolicy)] == ["one", "three"]
    assert len(loaded.all(PeerAuthentication)) == 1
    assert [str(error).partition(": ")[0] for error in loaded.errors] == [
        "f.yaml:8:5",
        "f.yaml:15:8",
        "h.yaml:1:1",
    ]


def test_json_and_lists_are_read() -> None:
    text = (
        '{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "security.istio.io/v1",'
        '"kind": "AuthorizationPolicy", "metadata": {"name": "a", "creationTimestamp": null},'
        '"spec": {"rules": [{}]}, "status": {"anything": 1}}]}'
    )

    loaded = load({"f.json": text})

    assert not loaded.problems
    [policy] = loaded.all(AuthorizationPolicy)
    assert policy.metadata.namespace == "default"


def test_proto_names_of_fields_are_taken_as_istiod_takes_them() -> None:
    loaded = load({"f.yaml": "trust_domain: example.org\n", "g.yaml": ""})

    assert loaded.mesh_config.trust_domain == "example.org"


def test_other_groups_are_skipped_with_one_line_each() -> None:
    deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {x: y}\n"

    loaded = load({"f.yaml": "---\n".join([deployment, deployment, _PEERS])})

    assert [(problem.severity, str(problem)) for problem in loaded.problems] == [
        ("info", "f.yaml:1:1: skipped: apps/v1 Deployment says nothing of the mesh (and 1 more)")
    ]
    assert not loaded.errors


def test_a_second_document_of_a_name_is_a_problem_and_the_first_counts() -> None:
    loaded = load({"f.yaml": _policy(spec="{rules: [{}]}"), "g.yaml": _policy()})

    [error] = loaded.errors
    assert str(error) == (
        "g.yaml:1:1: metadata.name: AuthorizationPolicy payments/p is also at f.yaml:1:1"
    )
    [policy] = loaded.all(AuthorizationPolicy)
    assert len(policy.rules) == 1


def test_there_is_one_mesh_config() -> None:
    loaded = load({"f.yaml": "trustDomain: a\n", "g.yaml": "trustDomain: b\n"})

    [error] = loaded.errors
    assert str(error) == (
        "g.yaml:1:1: no apiVersion and no kind: the mesh config, which is also at f.yaml:1:1"
    )
    assert loaded.mesh_config.trust_domain == "a"


def test_documents_are_sorted_oldest_first() -> None:
    def aged(name: str, created: str) -> str:
        line = f"  creationTimestamp: {created}\n"
        return _policy(name).replace("  namespace: payments\n", f"  namespace: payments\n{line}")

    text = "---\n".join(
        [_policy("now"), aged("new", "2026-02-01T00:00:00Z"), aged("old", "2026-01-01T00:00:00Z")]
    )

    loaded = load({"f.yaml": text})

    assert [each.metadata.name for each in loaded.documents] == ["old", "new", "now"]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (_policy("deny", "{rules: 7}"), "the document has an error"),
        (_policy("deny").replace("spec:", " spec:"), "the file is no YAML"),
        (_policy("deny").replace("  name: deny\n", ""), "the document has no name"),
        ("---\n".join(["{", _policy("other")]), "a part of the file is no YAML"),
    ],
)
def test_what_breaks_keeps_its_last_good_version(broken: str, why: str) -> None:
    good = load({"f.yaml": _policy("deny", "{rules: [{}]}"), "g.yaml": _PEERS})

    kept = load({"f.yaml": broken, "g.yaml": _PEERS}).with_last_good(good)

    assert "deny" in _names(kept), why
    assert kept.errors


def test_what_is_deleted_goes_though_another_document_is_broken() -> None:
    both = "---\n".join([_policy("a"), _policy("b")])
    good = load({"f.yaml": both, "g.yaml": _PEERS})

    left = load({"f.yaml": _policy("a"), "g.yaml": _PEERS.replace("STRICT", "STRICTER")})

    assert _names(left.with_last_good(good)) == ["a", "default"]


def test_a_broken_mesh_config_keeps_its_last_good_version() -> None:
    good = load({"mesh.yaml": "trustDomain: a\n"})

    broken = load({"mesh.yaml": "trustDomain: [b]\n"})
    unreadable = load({"mesh.yaml": "trustDomain: [b\n"})

    assert broken.with_last_good(good).mesh_config.trust_domain == "a"
    assert unreadable.with_last_good(good).mesh_config.trust_domain == "a"


def _names(loaded: Loaded) -> list[str]:
    return sorted(each.metadata.name for each in loaded.documents)


def test_what_stands_where_it_stood_is_not_read_anew() -> None:
    loader = Loader()
    one, other = (_peers(name) for name in ("a", "b"))
    before = loader.load({"a.yaml": one, "b.yaml": other})

    after = loader.load({"a.yaml": one, "b.yaml": other.replace("STRICT", "DISABLE")})

    nouns = [[each.noun for each in loaded.documents] for loaded in (before, after)]
    assert nouns[0][0] is nouns[1][0]
    assert nouns[0][1] != nouns[1][1]


def test_a_name_that_is_there_twice_is_told_each_time() -> None:
    loader = Loader()
    texts = {"a.yaml": _peers("a"), "b.yaml": _peers("a")}

    first, second = loader.load(texts), loader.load(texts)

    assert [str(each) for each in first.errors] == [str(each) for each in second.errors]
    assert "is also at a.yaml:1:1" in str(first.errors[0])


def _peers(name: str) -> str:
    return f"""\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: shop}}
spec: {{mtls: {{mode: STRICT}}}}
"""
