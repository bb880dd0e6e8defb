"""HTTPRoute bound to a Service: refusals, and the routes of its callers."""

import pytest

from meshsdk.control_plane.istio.authn import KeySets
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.envoy_json import message, messages
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.outbound import outbound_routes
from meshsdk.control_plane.istio.proxies import parse_proxy
from meshsdk.control_plane.istio.registry_build import build_registry
from meshsdk.control_plane.istio.scope import scope_of
from meshsdk.control_plane.shapes.tls import Json

_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {clusterIP: 10.1.1.1, ports: [{name: http, port: 80}], selector: {app: a}}
---
"""


def _route(spec: str, namespace: str = "shop", name: str = "r") -> str:
    parent = "parentRefs: [{kind: Service, group: '', name: a, namespace: shop}]"
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{parent}, rules: {spec}}}
---
"""


def routes_of(*texts: str, namespace: str = "shop") -> list[Json]:
    loaded = load({"a.yaml": _SERVICE + "".join(texts)})
    assert not loaded.errors
    config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))
    node = {"id": f"sidecar~10.0.0.1~b.{namespace}~{namespace}.svc.cluster.local"}
    proxy = parse_proxy(node)
    found = outbound_routes(config, proxy, scope_of(config, proxy), ["80"])
    hosts = {str(host["name"]): host for host in messages(found["80"]["virtual_hosts"])}
    return messages(hosts["a.shop.svc.cluster.local:80"]["routes"])


_TO_B = "backendRefs: [{name: b, port: 8080}]"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("[{filters: [{type: ExtensionRef}], %s}]", "ExtensionRef is not built"),
        ("[{backendRefs: [{name: b}]}]", "expected port, found none"),
        ("[{backendRefs: [{name: b, port: 1, kind: X, group: y}]}]", "X of y is not built"),
        ("[{matches: [{path: {value: a}}], %s}]", "a path that begins with /"),
        ("[{matches: [{pth: {}}], %s}]", "unknown field, did you mean path?"),
        ("[{sessionPersistence: {}, %s}]", "refused: not built"),
    ],
)
def test_what_cannot_be_honoured_is_refused(spec: str, problem: str) -> None:
    errors = load({"a.yaml": _route(spec.replace("%s", _TO_B))}).errors

    assert problem in "\n".join(map(str, errors))


def test_a_route_of_a_gateway_is_refused_by_name() -> None:
    text = _route("[]").replace("kind: Service, group: ''", "kind: Gateway")

    (error,) = load({"a.yaml": text}).errors

    assert "routes of Gateway are not built: expected a Service" in str(error)


def test_the_most_specific_match_goes_first() -> None:
    spec = """[{matches: [{path: {value: /}}], %s}, {matches: [{path: {value: /x/}},
        {path: {type: Exact, value: /y}}], %s}]"""

    found = routes_of(_route(spec.replace("%s", _TO_B)))

    assert [route["match"] for route in found] == [
        {"path": "/y", "case_sensitive": True},
        {"path_separated_prefix": "/x", "case_sensitive": True},
        {"prefix": "/", "case_sensitive": True},
    ]
    assert message(found[0]["route"])["cluster"] == "outbound|8080||b.shop.svc.cluster.local"


def test_backends_are_weighed() -> None:
    spec = "[{backendRefs: [{name: b, port: 1, weight: 9}, {name: c, port: 2}]}]"

    (route,) = routes_of(_route(spec))

    weighted = message(message(route["route"])["weighted_clusters"])
    assert [cluster["weight"] for cluster in messages(weighted["clusters"])] == [9, 1]


def test_a_rule_without_backends_answers_500() -> None:
    (route,) = routes_of(_route("[{}]"))

    assert route["direct_response"] == {"status": 500}


def test_a_prefix_is_replaced_in_rewrites_and_redirects() -> None:
    path = "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}"
    match = "matches: [{path: {value: /old}}]"
    rewrite = f"{{{match}, filters: [{{type: URLRewrite, urlRewrite: {{{path}}}}}], {_TO_B}}}"
    whole = rewrite.replace("/new", "/")
    redirect = f"{{{match}, filters: [{{type: RequestRedirect, requestRedirect: {{{path}}}}}]}}"

    actions = [routes_of(_route(f"[{rule}]"))[0] for rule in (rewrite, whole, redirect)]

    assert message(actions[0]["route"])["prefix_rewrite"] == "/new"
    regex = {"pattern": {"regex": "^/old(/?)(.*)"}, "substitution": r"/\2"}
    assert message(actions[1]["route"])["regex_rewrite"] == regex
    assert actions[2]["redirect"] == {"prefix_rewrite": "/new", "response_code": "FOUND"}


def test_callers_in_a_routes_own_namespace_follow_it_first() -> None:
    producer = _route("[{backendRefs: [{name: b, port: 1}]}]")
    consumer = _route("[{backendRefs: [{name: c, port: 2}]}]", "other", "mine")

    here = routes_of(producer, consumer)
    there = routes_of(producer, consumer, namespace="other")

    assert message(here[0]["route"])["cluster"] == "outbound|1||b.shop.svc.cluster.local"
    assert message(there[0]["route"])["cluster"] == "outbound|2||c.other.svc.cluster.local"


def test_timeouts_of_a_request_and_of_a_try() -> None:
    (route,) = routes_of(_route(f"[{{timeouts: {{request: 3s, backendRequest: 1s}}, {_TO_B}}}]"))

    action = message(route["route"])
    assert action["timeout"] == "3s"
    assert message(action["retry_policy"])["per_try_timeout"] == "1s"
