"""WorkloadGroup: the template of workloads that register themselves."""

from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.workload_group import WorkloadGroup

TEXT = """\
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: cart, namespace: shop}
spec:
  metadata: {labels: {app: cart}}
  template: {serviceAccount: cart, ports: {http: 8080}}
"""


def test_the_template_is_read() -> None:
    [group] = load({"a.yaml": TEXT}).all(WorkloadGroup)

    assert group.entry_labels == {"app": "cart"}
    assert group.template.service_account == "cart"
    assert group.template.ports == {"http": 8080}


def test_an_address_in_the_template_is_refused() -> None:
    text = TEXT.replace("{serviceAccount", "{address: 1.1.1.1, serviceAccount")

    errors = load({"a.yaml": text}).errors

    assert "comes with each workload" in str(errors[0])
