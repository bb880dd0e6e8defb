"""DestinationRule: refusals, merging, and whose rule a caller follows."""

import pytest

from meshsdk.control_plane.istio.destination_rule import DestinationRule, DestinationRules
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.services import Service

HOST = "cart.shop.svc.cluster.local"
SERVICE = Service(HOST, "shop", (), HOST)


def _text(spec: str, name: str = "d", namespace: str = "shop") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def _rules(*texts: str) -> DestinationRules:
    loaded = load({str(i): text for i, text in enumerate(texts)})
    assert not loaded.errors
    return DestinationRules(loaded.all(DestinationRule), "istio-system", ("*",))


def _name_for(rules: DestinationRules, namespace: str, **labels: str) -> str:
    found = rules.for_service(SERVICE, namespace, labels)
    return "" if found is None else found.metadata.name


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ("{}", "expected at least one setting"),
        ("{loadBalancer: {simple: ROUNDROBIN}}", "did you mean ROUND_ROBIN?"),
        ("{loadBalancer: {simple: RANDOM, consistentHash: {}}}", "found simple and consistentHash"),
        ("{loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: x}}}", "found http"),
        ("{loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 50}}]}}}", "make 100"),
        ("{connectionPool: {tcp: {connectTimeout: 0s}}}", "expected at least 1ms"),
        ("{connectionPool: {http: {maxRetries: -1}}}", "expected at least 0, found -1"),
        ("{outlierDetection: {consecutiveErrors: 5}}", "write consecutive5xxErrors"),
        ("{outlierDetection: {consecutiveLocalOriginFailures: 5}}", "needs splitExternalLocal"),
        ("{outlierDetection: {maxEjectionPercent: 101}}", "at most 100"),
        ("{tls: {mode: MUTUAL}}", "MUTUAL needs clientCertificate"),
        ("{tls: {mode: ISTIO_MUTUAL, caCertificates: /a}}", "brings its own certificates"),
        ("{tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: /a}}", "insecureSkip"),
        ("{tls: {mode: SIMPLE, caCrl: /a}}", "refused: not built"),
        ("{connectionPool: {tcp: {connectTimeout: 2562048h}}}", "expected a duration such as"),
        (
            "{connectionPool: {tcp: {tcpKeepalive: {time: 2000000h}}}}",
            "expected at most 2147483647",
        ),
        ("{outlierDetection: {consecutive5xxErrors: 4294967296}}", "an integer of 32 bits"),
        ("{outlierDetecton: {}}", "unknown field, did you mean outlierDetection?"),
    ],
)
def test_what_istiod_refuses_is_refused(policy: str, problem: str) -> None:
    errors = load({"a.yaml": _text(f"{{host: a, trafficPolicy: {policy}}}")}).errors

    assert problem in "\n".join(map(str, errors))


def test_the_callers_namespace_goes_before_the_services_before_the_root() -> None:
    spec = f"{{host: {HOST}, trafficPolicy: {{tls: {{mode: DISABLE}}}}}}"
    rules = _rules(
        _text(spec, "callers", "front"),
        _text(spec, "services"),
        _text(spec, "roots", "istio-system"),
    )

    assert _name_for(rules, "front") == "callers"
    assert _name_for(rules, "shop") == "services"
    assert _name_for(rules, "elsewhere") == "services"


def test_a_rule_that_is_not_exported_is_not_followed() -> None:
    rules = _rules(_text(f"{{host: {HOST}, exportTo: [.]}}"))

    assert _name_for(rules, "shop") == "d"
    assert _name_for(rules, "front") == ""


def test_the_most_specific_host_counts() -> None:
    rules = _rules(
        _text("{host: '*.cluster.local'}", "wide"),
        _text("{host: '*.shop.svc.cluster.local'}", "narrow"),
    )

    assert _name_for(rules, "shop") == "narrow"


def test_a_workload_selector_counts_in_its_own_namespace_only() -> None:
    rules = _rules(
        _text(f"{{host: {HOST}, workloadSelector: {{matchLabels: {{app: a}}}}}}", "chosen"),
        _text(f"{{host: {HOST}}}", "others"),
    )

    assert _name_for(rules, "shop", app="a") == "chosen"
    assert _name_for(rules, "shop", app="b") == "others"
    assert _name_for(rules, "front", app="a") == "others"


def test_rules_of_one_host_are_one() -> None:
    rules = _rules(
        _text("{host: cart, subsets: [{name: v1, labels: {version: v1}}]}", "a"),
        _text("{host: cart, trafficPolicy: {tls: {mode: DISABLE}}, subsets: [{name: v2}]}", "b"),
    )

    found = rules.for_service(SERVICE, "shop", {})

    assert found is not None
    assert [subset.name for subset in found.subsets] == ["v1", "v2"]
    assert found.policy is not None


def test_a_port_inherits_nothing_and_a_subset_what_it_does_not_say() -> None:
    rules = _rules(
        _text(
            """
  host: cart
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    outlierDetection: {consecutive5xxErrors: 5}
    portLevelSettings:
    - {port: {number: 81}, loadBalancer: {simple: ROUND_ROBIN}}
  subsets:
  - name: v1
    trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1}}
"""
        )
    )
    rule = rules.for_service(SERVICE, "shop", {})
    assert rule is not None

    port, subset = rule.policy_of(81), rule.policy_of(80, rule.subset("v1"))

    assert port.load_balancer is not None
    assert (port.load_balancer.simple, port.outlier_detection) == ("ROUND_ROBIN", None)
    assert subset.load_balancer is not None
    assert subset.load_balancer.simple == "RANDOM"
    assert subset.outlier_detection is not None
    assert subset.outlier_detection.errors_5xx == 1


def test_a_credential_name_is_told_to_mean_plaintext() -> None:
    spec = "{host: a, trafficPolicy: {tls: {mode: SIMPLE, credentialName: ca}}}"

    problems = load({"a.yaml": _text(spec)}).problems

    assert [each.severity for each in problems] == ["warning"]
    assert "PLAINTEXT" in str(problems[0])
