"""Sidecar: refusals, and whom a document is for."""

import pytest

from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.selectors import Workload
from meshsdk.control_plane.istio.sidecar import Sidecar, sidecar_of


def _text(spec: str, name: str = "s", namespace: str = "shop") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("{}", "spec: expected ingress, egress or a policy"),
        ("{egress: [{}]}", "spec.egress[0]: expected hosts"),
        ("{egress: [{hosts: [a]}]}", "spec.egress[0].hosts[0]: expected NAMESPACE/HOST"),
        ("{egress: [{hosts: [./*]}, {hosts: [./*]}]}", "an egress listener without port is the"),
        ("{egress: [{port: {number: 0}, hosts: [./*]}]}", "expected 1 to 65535, found 0"),
        ("{egress: [{bind: x, hosts: [./*]}]}", "expected an IP address or unix:///PATH"),
        ("{ingress: [{port: {number: 80}, defaultEndpoint: a:1}]}", "expected 127.0.0.1:PORT"),
        ("{ingress: [{port: {number: 80}}, {port: {number: 80}}]}", "80 is there twice"),
        ("{ingress: [{port: {number: 80}, tls: {mode: SIMPLE}}]}", "refused: TLS other than"),
        ("{egress: [{host: [./*]}]}", "unknown field, did you mean hosts?"),
    ],
)
def test_what_istiod_refuses_is_refused(spec: str, problem: str) -> None:
    errors = load({"a.yaml": _text(spec)}).errors

    assert problem in "\n".join(map(str, errors))


def test_the_nearest_document_is_taken() -> None:
    hosts = "egress: [{hosts: [./*]}]"
    loaded = load(
        {
            "a": _text("{%s}" % hosts, "mesh", "istio-system"),  # noqa: UP031
            "b": _text("{%s}" % hosts, "all"),  # noqa: UP031
            "c": _text("{workloadSelector: {labels: {app: a}}, %s}" % hosts, "one"),  # noqa: UP031
        }
    )
    sidecars = loaded.all(Sidecar)

    def name_for(namespace: str, app: str) -> str:
        found = sidecar_of(sidecars, Workload(namespace, {"app": app}), "istio-system")
        return "" if found is None else found.metadata.name

    assert not loaded.errors
    assert name_for("shop", "a") == "one"
    assert name_for("shop", "b") == "all"
    assert name_for("other", "a") == "mesh"
