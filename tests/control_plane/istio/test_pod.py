"""Pod."""

from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.pod import Pod


def test_a_pod_without_account_has_the_default_one() -> None:
    text = "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop}, spec: {}}"

    [pod] = load({"a.yaml": text}).all(Pod)

    assert (pod.service_account, pod.address, pod.is_ready) == ("default", "", True)


def test_a_pod_that_says_that_it_is_not_ready_is_not() -> None:
    status = "{podIP: 10.0.0.1, conditions: [{type: Ready, status: 'False'}]}"
    text = f"{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{}}, status: {status}}}"

    [pod] = load({"a.yaml": text}).all(Pod)

    assert (pod.address, pod.is_ready) == ("10.0.0.1", False)
