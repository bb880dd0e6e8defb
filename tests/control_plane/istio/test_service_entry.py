"""ServiceEntry: refusals, and the services that it makes."""

import pytest

from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.registry_build import build_registry


def _text(spec: str) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s, namespace: shop}}
spec: {spec}
"""


PORT = "ports: [{number: 80, name: http, protocol: HTTP}]"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("{ports: []}", "expected at least one of hosts"),
        ("{hosts: ['*']}", "* is every host"),
        ("{hosts: [a b]}", "expected a host name"),
        ("{hosts: [a.b], addresses: [x]}", "expected an IP or a CIDR"),
        ("{hosts: [a.b], ports: [{number: 80, name: a, protocol: HTPP}]}", "expected HTTP, GRPC"),
        ("{hosts: [a.b], ports: [{number: 80, name: a}, {number: 80, name: b}]}", "80 is there tw"),
        ("{hosts: [a.b], ports: [{number: 80, name: a}, {number: 81, name: a}]}", "a is there tw"),
        ("{hosts: [a.b], endpoints: [{address: 1.1.1.1}]}", "resolution NONE has no endpoints"),
        ("{hosts: ['*.b'], resolution: DNS}", "cannot be resolved by DNS"),
        ("{hosts: [a.b], resolution: STATIC, endpoints: [{address: x.y}]}", "STATIC needs IPs"),
        ("{hosts: [a.b], resolution: DNS, addresses: [10.0.0.0/8]}", "CIDR needs resolution NONE"),
        (
            "{hosts: [a.b], resolution: STATIC, endpoints: [{address: 1.1.1.1, ports: {x: 1}}]}",
            "the port x is none of the service's",
        ),
        (
            "{hosts: [a.b], resolution: STATIC, workloadSelector: {labels: {a: b}},"
            " endpoints: [{address: 1.1.1.1}]}",
            "expected one of workloadSelector and endpoints",
        ),
        ("{host: [a.b]}", "unknown field, did you mean hosts?"),
    ],
)
def test_what_istiod_refuses_is_refused(spec: str, problem: str) -> None:
    errors = load({"a.yaml": _text(spec)}).errors

    assert problem in "\n".join(map(str, errors))


def test_each_host_is_a_service() -> None:
    spec = f"{{hosts: [a.example, b.example], resolution: DNS, {PORT}}}"

    services = build_registry(load({"a.yaml": _text(spec)})).services

    assert [service.hostname for service in services] == ["a.example", "b.example"]
    assert [service.endpoints[0].address for service in services] == ["a.example", "b.example"]
    assert services[0].is_external


def test_an_address_is_allocated_where_one_is_missing_and_can_be_used() -> None:
    texts = {
        "a": _text(f"{{hosts: [a.example], resolution: DNS, {PORT}}}"),
        "b": _text(f"{{hosts: ['*.b.example'], {PORT}}}").replace("name: s", "name: b"),
        "c": _text(f"{{hosts: [c.example], addresses: [10.0.0.1], {PORT}}}").replace(
            "name: s", "name: c"
        ),
    }

    services = build_registry(load(texts), ip_autoallocate=True).services

    by_host = {service.hostname: service for service in services}
    vip = by_host["a.example"].auto_address
    assert vip.startswith("240.240.")
    assert by_host["*.b.example"].auto_address == by_host["c.example"].auto_address == ""
    assert by_host["a.example"].addresses_for(dns_capture=True) == (vip,)
    assert by_host["a.example"].addresses_for(dns_capture=False) == ("0.0.0.0",)


def test_what_is_not_exported_is_not_seen() -> None:
    spec = f"{{hosts: [a.example], resolution: DNS, exportTo: [., front], {PORT}}}"
    [service] = build_registry(load({"a.yaml": _text(spec)})).services

    seen = [name for name in ("shop", "front", "other") if service.is_visible_in(name)]

    assert seen == ["shop", "front"]
