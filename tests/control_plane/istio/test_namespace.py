"""Namespace."""

from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.namespace import Namespace


def test_a_namespace_is_in_no_namespace() -> None:
    text = "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {a: b}}}"

    [namespace] = load({"a.yaml": text}).all(Namespace)

    assert (namespace.metadata.namespace, namespace.metadata.labels) == ("", {"a": "b"})
