"""VirtualService: refusals, delegates, and the routes that Envoy gets."""

import pytest

from meshsdk.control_plane.istio.delegates import with_delegates
from meshsdk.control_plane.istio.envoy_json import message
from meshsdk.control_plane.istio.http_routes import Asking, http_routes, outbound_cluster
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.virtual_service import VirtualService
from meshsdk.control_plane.shapes.tls import Json


def _text(spec: str, name: str = "vs", namespace: str = "shop") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


def _errors(spec: str) -> str:
    return "\n".join(str(problem) for problem in load({"a.yaml": _text(spec)}).errors)


def _services(*texts: str) -> tuple[VirtualService, ...]:
    loaded = load({f"{i}.yaml": text for i, text in enumerate(texts)})
    assert not loaded.errors
    return with_delegates(loaded.all(VirtualService), ("*",))


def _routes(*texts: str, labels: dict[str, str] | None = None, port: int = 80) -> list[Json]:
    asking = Asking(port, "shop", labels or {})
    return http_routes(_services(*texts)[0], asking, lambda found: outbound_cluster(found, port))


def _cluster(route: Json) -> object:
    return message(route["route"])["cluster"]


_TO_A = "route: [{destination: {host: a}}]"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("{hosts: [a]}", "spec: expected http, tls or tcp, found none"),
        ("{hosts: ['*'], http: [{%s}]}", "spec.hosts[0]: the wildcard * is not for the gateway"),
        ("{hosts: [a, a.shop.svc.cluster.local], http: [{%s}]}", "spec.hosts[1]: a.shop.svc"),
        ("{hosts: [a], http: [{rout: []}]}", "spec.http[0].rout: unknown field, did you mean"),
        ("{hosts: [a], http: [{}]}", "spec.http[0]: expected route, redirect"),
        ("{hosts: [a], http: [{redirect: {uri: /}, %s}]}", "found route and redirect"),
        ("{hosts: [a], http: [{timeout: 0s, %s}]}", "timeout: expected at least 1ms"),
        ("{hosts: [a], http: [{match: [{uri: {regex: '*'}}], %s}]}", "RE2 refuses '*'"),
        ("{hosts: [a], http: [{retries: {attempts: 1, retryOn: 6xx}, %s}]}", "unknown condition"),
        ("{hosts: [a], http: [{retries: {attempts: 0, retryOn: 5xx}, %s}]}", "more than 0"),
        ("{hosts: [a], http: [{fault: {delay: {percentage: {value: 1}}}, %s}]}", "fixedDelay"),
        ("{hosts: [a], http: [{fault: {abort: {httpStatus: 99}}, %s}]}", "expected at least 200"),
        ("{hosts: [a], http: [{mirrorPercentage: {value: 101}, mirror: {host: b}, %s}]}", "0 to 1"),
        ("{hosts: [a], http: [{rewrite: {}, %s}]}", "expected uri, uriRegexRewrite or authority"),
        ("{hosts: [a], http: [{redirect: {redirectCode: 404}}]}", "expected 301, 302, 303, 307"),
        (
            "{hosts: [a], http: [{match: [{headers: {'@request.auth.claims.x': {exact: y}}}], %s}]}",
            "is for gateways",
        ),
        ("{hosts: [a], tls: [{match: [{sniHosts: [b.c]}], %s}]}", "within none"),
        ("{hosts: [a], tcp: [{match: [{destinationSubnets: [x]}], %s}]}", "expected a subnet"),
        ("{gateways: [mesh], http: [{%s}]}", "spec.gateways: not in a delegate"),
        (
            "{hosts: [a], http: [{route: [{destination: {host: a}}, {destination: {host: b}}]}]}",
            "weights whose sum is more than 0",
        ),
    ],
)
def test_what_istiod_refuses_is_refused(spec: str, problem: str) -> None:
    assert problem in _errors(spec.replace("%s", _TO_A))


def test_a_fault_without_percentage_is_told_to_never_fire() -> None:
    spec = "{hosts: [a], http: [{fault: {delay: {fixedDelay: 1s}}, %s}]}"

    problems = load({"a.yaml": _text(spec.replace("%s", _TO_A))}).problems

    assert ["never fires" in str(problem) for problem in problems] == [True]


def test_rules_after_one_that_matches_everything_are_not_sent() -> None:
    spec = "{hosts: [a], http: [{match: [{uri: {prefix: /x}}], %s}, {%s}, {%s}]}"

    routes = _routes(_text(spec.replace("%s", _TO_A)))

    assert [route["match"] for route in routes] == [
        {"prefix": "/x", "case_sensitive": True},
        {"prefix": "/"},
    ]


def test_who_asks_is_matched_by_the_control_plane() -> None:
    spec = "{hosts: [a], http: [{match: [{sourceLabels: {app: b}, port: 80}], %s}]}"
    text = _text(spec.replace("%s", _TO_A))

    assert len(_routes(text, labels={"app": "b"})) == 1
    assert not _routes(text, labels={"app": "c"})
    assert not _routes(text, labels={"app": "b"}, port=81)


def test_a_delegate_stands_where_its_root_names_it() -> None:
    root = _text(
        "{hosts: [a], http: [{name: r, match: [{uri: {prefix: /d}}], timeout: 3s, delegate:"
        f" {{name: inner}}}}, {{name: last, {_TO_A}}}]}}"
    )
    inner = _text(
        "{http: [{name: x, match: [{uri: {prefix: /d/x}}], route: [{destination: {host: b}}]},"
        " {match: [{uri: {prefix: /other}}], route: [{destination: {host: c}}]}]}",
        "inner",
    )

    routes = _routes(root, inner)

    assert [route["name"] for route in routes] == ["r-x", "last"]
    assert _cluster(routes[0]) == "outbound|80||b.shop.svc.cluster.local"
    assert message(routes[0]["route"])["timeout"] == "3s"


def test_retry_conditions_that_are_numbers_are_status_codes() -> None:
    spec = "{hosts: [a], http: [{retries: {attempts: 3, retryOn: '5xx,429'}, %s}]}"

    (route,) = _routes(_text(spec.replace("%s", _TO_A)))

    policy = message(message(route["route"])["retry_policy"])
    assert policy["retry_on"] == "5xx,retriable-status-codes"
    assert policy["retriable_status_codes"] == [429]
    assert policy["num_retries"] == 3


def test_a_destination_of_weight_zero_is_left_out() -> None:
    spec = """{hosts: [a], http: [{route: [
        {destination: {host: a, subset: v1}, weight: 100}, {destination: {host: a}, weight: 0}]}]}
    """

    (route,) = _routes(_text(spec))

    clusters = [{"name": "outbound|80|v1|a.shop.svc.cluster.local", "weight": 100}]
    assert message(route["route"])["weighted_clusters"] == {"clusters": clusters}


@pytest.mark.parametrize(
    ("outer", "inner", "count"),
    [
        ("uri: {prefix: /a}", "uri: {prefix: /a/b}", 1),
        ("uri: {prefix: /a/b}", "uri: {prefix: /a}", 0),
        ("uri: {exact: /a}", "uri: {prefix: /a}", 0),
        ("uri: {prefix: /a}", "uri: {regex: /a.*}", 0),
        ("headers: {x: {exact: a}}", "headers: {x: {exact: b}}", 0),
        ("headers: {x: {exact: a}}", "headers: {y: {exact: b}}", 1),
        ("port: 80", "port: 81", 0),
        ("sourceNamespace: shop", "uri: {prefix: /a}", 0),
        ("uri: {prefix: /a}", "sourceNamespace: shop", 1),
        ("gateways: [mesh]", "uri: {prefix: /a}", 1),
        ("uri: {prefix: /a}", "ignoreUriCase: true", 0),
    ],
)
def test_a_delegates_condition_must_be_within_its_roots(outer: str, inner: str, count: int) -> None:
    root = _text(f"{{hosts: [a], http: [{{match: [{{{outer}}}], delegate: {{name: d}}}}]}}")
    delegate = _text(f"{{http: [{{match: [{{{inner}}}], {_TO_A}}}]}}", "d")

    (service,) = _services(root, delegate)

    assert len(service.http) == count
