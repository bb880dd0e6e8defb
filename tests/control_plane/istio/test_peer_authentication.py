"""PeerAuthentication: refusals and precedence."""

import pytest

from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.peer_authentication import (
    InboundMtls,
    PeerAuthentication,
    inbound_mtls,
)
from meshsdk.control_plane.istio.selectors import Workload

_ROOT = "istio-system"


def _text(spec: str, namespace: str = "ns", name: str = "p", created: str = "null") -> str:
    return f"""\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: {created}}}
spec: {spec}
"""


def _mtls(*texts: str) -> InboundMtls:
    loaded = load({f"{i}.yaml": text for i, text in enumerate(texts)})
    assert not loaded.errors
    return inbound_mtls(loaded.all(PeerAuthentication), Workload("ns", {"app": "a"}), _ROOT)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("{mtls: {mode: strict}}", "spec.mtls.mode: expected one of UNSET, DISABLE, PERMISSIVE"),
        ("{portLevelMtls: {80: {}}}", "spec.portLevelMtls: needs a selector"),
        (
            "{selector: {matchLabels: {a: b}}, portLevelMtls: {0: {}}}",
            "spec.portLevelMtls: expected ports of 1 to 65535, found '0'",
        ),
        (
            "{selector: {matchLabels: {a: b}}, portLevelMtls: {}}",
            "spec.portLevelMtls: expected at least one port",
        ),
        ("{mtls: STRICT}", "spec.mtls: expected a message, found 'STRICT'"),
    ],
)
def test_what_istiod_refuses_is_refused(spec: str, problem: str) -> None:
    [error] = load({"f.yaml": _text(spec)}).errors

    assert problem in str(error)


def test_without_policies_a_workload_is_permissive() -> None:
    assert _mtls().of(8080) == "PERMISSIVE"


def test_workload_goes_before_namespace_before_mesh_and_port_before_all() -> None:
    mesh = _text("{mtls: {mode: STRICT}}", _ROOT)
    namespace = _text("{mtls: {mode: PERMISSIVE}}")
    workload = _text(
        "{selector: {matchLabels: {app: a}}, mtls: {mode: DISABLE}, "
        "portLevelMtls: {80: {mode: STRICT}, 81: {mode: UNSET}}}",
        name="w",
    )

    assert _mtls(mesh).of(80) == "STRICT"
    assert _mtls(mesh, namespace).of(80) == "PERMISSIVE"
    found = _mtls(mesh, namespace, workload)
    assert (found.of(80), found.of(81), found.of(82)) == ("STRICT", "DISABLE", "DISABLE")


def test_an_unset_mode_is_that_of_the_level_above() -> None:
    mesh = _text("{mtls: {mode: STRICT}}", _ROOT)

    workload = _text("{selector: {matchLabels: {app: a}}}", name="w")

    assert _mtls(mesh, _text("{}"), workload).of(1) == "STRICT"


def test_the_oldest_of_a_level_counts() -> None:
    young = _text("{mtls: {mode: DISABLE}}", name="a", created="2026-02-01T00:00:00Z")
    old = _text("{mtls: {mode: STRICT}}", name="b", created="2026-01-01T00:00:00Z")

    assert _mtls(young, old).of(1) == "STRICT"


def test_selectors_of_others_and_of_the_root_namespace_choose_nothing() -> None:
    selector = "{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}}"
    other = "{selector: {matchLabels: {app: b}}, mtls: {mode: STRICT}}"

    assert _mtls(_text(selector, _ROOT), _text(other)).of(1) == "PERMISSIVE"
