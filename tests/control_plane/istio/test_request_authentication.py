"""RequestAuthentication: what is refused."""

import pytest

from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.request_authentication import RequestAuthentication

_KEYS = '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'


def _text(rule: str) -> str:
    return f"""\
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: r, namespace: ns}}
spec: {{jwtRules: [{rule}]}}
"""


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("{}", "spec.jwtRules[0]: expected issuer or jwksUri, found neither"),
        ("{issuer: i, audiences: ['']}", ".audiences[0]: expected a string that is not empty"),
        ("{issuer: i, fromParams: ['']}", ".fromParams[0]: expected a string that is not empty"),
        ("{issuer: i, fromCookies: ['']}", ".fromCookies[0]: expected a string that is not empty"),
        ("{issuer: i, fromHeaders: [{}]}", ".fromHeaders[0]: expected name, found none"),
        ("{issuer: i, jwksUri: 'file:///x'}", ".jwksUri: expected an http or https URI"),
        ("{issuer: i, jwksUri: 'https://[x'}", ".jwksUri: expected an http or https URI"),
        ("{issuer: i, jwks: nonsense}", ".jwks: expected a JSON Web Key Set: "),
        ("{issuer: i, jwks: '{\"keys\": []}'}", ".jwks: expected a JSON Web Key Set: "),
        (
            "{issuer: i, jwks: '{\"keys\": [{}]}'}",
            ".jwks: expected a JSON Web Key Set: [kty] is miss",
        ),
        ("{issuer: i, timeout: 0s}", ".timeout: expected at least 1ms"),
        ("{issuer: i, timeout: 5}", ".timeout: expected a duration such as 1.5s, found the number"),
        (
            "{issuer: i, outputClaimToHeaders: [{header: 'a b', claim: c}]}",
            ".header: expected letters, digits, - and _",
        ),
        (
            "{issuer: i, outputClaimToHeaders: [{header: a}]}",
            "outputClaimToHeaders[0]: expected claim, found none",
        ),
        ("{issuer: i, jwskUri: x}", ".jwskUri: unknown field, did you mean jwksUri?"),
    ],
)
def test_what_istiod_or_envoy_refuses_is_refused(rule: str, problem: str) -> None:
    [error] = load({"f.yaml": _text(rule)}).errors

    assert problem in str(error)
    assert str(error).startswith("f.yaml:4:")


def test_a_rule_is_read_with_istios_names_and_defaults() -> None:
    loaded = load(
        {"f.yaml": _text(f"{{issuer: 'https://i/', jwks_uri: 'https://k', jwks: '{_KEYS}'}}")}
    )

    [policy] = loaded.all(RequestAuthentication)

    [rule] = policy.rules
    assert (rule.jwks_uri, rule.timeout) == ("https://k", 5.0)
    assert rule.discovery_uri == "https://i/.well-known/openid-configuration"
