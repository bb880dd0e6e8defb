"""GRPCRoute bound to a Service: refusals, and matches by service and method."""

import pytest

from meshsdk.control_plane.istio.gateway_api import MeshRoute
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.route_match import route_match


def _text(rules: str) -> str:
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: r, namespace: shop}}
spec: {{parentRefs: [{{kind: Service, group: '', name: a}}], rules: {rules}}}
"""


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("{service: s, method: m}", {"path": "/s/m"}),
        ("{service: s}", {"path_separated_prefix": "/s"}),
        ("{method: m}", {"safe_regex": {"regex": "/[^/]+/m"}}),
        (
            "{type: RegularExpression, service: 's.*', method: m}",
            {"safe_regex": {"regex": "/s.*/m"}},
        ),
    ],
)
def test_a_method_is_matched_by_its_path(method: str, expected: dict[str, object]) -> None:
    loaded = load({"a.yaml": _text(f"[{{matches: [{{method: {method}}}]}}]")})

    (route,) = loaded.all(MeshRoute)

    (match,) = route.rules[0].matches
    assert not loaded.errors
    assert route_match(match) == {**expected, "case_sensitive": True}


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("[{matches: [{method: {}}]}]", "expected service or method"),
        ("[{filters: [{type: URLRewrite, urlRewrite: {hostname: a}}]}]", "gRPC has no redirects"),
        ("[{timeouts: {}}]", "unknown field"),
    ],
)
def test_what_cannot_be_honoured_is_refused(rules: str, problem: str) -> None:
    errors = load({"a.yaml": _text(rules)}).errors

    assert problem in "\n".join(map(str, errors))
