"""MeshConfig: Istio's defaults, and what istiod refuses."""

import pytest

from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.mesh_config import MeshConfig


def _ext_authz(fields: str) -> str:
    return f"extensionProviders: [{{name: a, envoyExtAuthzHttp: {{{fields}}}}}]\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (_ext_authz("port: 1"), "envoyExtAuthzHttp: service: expected [namespace/]hostname"),
        (_ext_authz("service: a/, port: 1"), "service: expected [namespace/]hostname"),
        (_ext_authz("service: a, port: 999999"), "port: expected 1 to 65535, found 999999"),
        (_ext_authz("service: a, port: 1, pathPrefix: x"), "pathPrefix: expected a path"),
        (_ext_authz("service: a, port: 1, statusOnError: '999'"), "statusOnError: expected a st"),
        (_ext_authz("service: a, port: 1, failOpn: true"), "did you mean failOpen?"),
        ("extensionProviders: [{name: a}]\n", "extensionProviders[0]: expected envoyExtAuthzHttp"),
        (
            "extensionProviders: [{name: a, zipkin: {}}, {name: a, datadog: {}}]\n",
            "extensionProviders[1]: the name a is there twice",
        ),
        (
            "extensionProviders: [{name: a, zipkin: {}, datadog: {}}]\n",
            "extensionProviders[0].datadog: expected one of",
        ),
        (
            "extensionProviders: [{name: a, zipkin: {servise: b}}]\n",
            "extensionProviders[0].zipkin.servise: unknown field, did you mean service?",
        ),
        ("defaultConfig: {concurency: 2}\n", "defaultConfig.concurency: unknown field, did you"),
        ("compliancePolicy: fips-140-2\n", "compliancePolicy: refused: not built"),
        ("outboundTrafficPolicy: {mode: ANY}\n", "outboundTrafficPolicy.mode: expected one of"),
        ("connectTimeout: 1us\n", "connectTimeout: expected at least 1ms"),
        ("proxyListenPort: 0\n", "proxyListenPort: expected at least 1, found 0"),
        ("pathNormalization: {normalization: ALL}\n", "normalization: expected one of DEFAULT"),
    ],
)
def test_what_istiod_refuses_is_refused(text: str, problem: str) -> None:
    loaded = load({"mesh.yaml": text})

    [error] = loaded.errors
    assert problem in str(error)
    assert str(error).startswith("mesh.yaml:1:")
    assert loaded.mesh_config == MeshConfig()


def test_what_is_unset_has_istios_default() -> None:
    mesh = load({"mesh.yaml": "accessLogFile: /dev/stdout\nmeshMTLS: {}\n"}).mesh_config

    assert mesh.access_log_file == "/dev/stdout"
    assert (mesh.trust_domain, mesh.root_namespace) == ("cluster.local", "istio-system")
    assert (mesh.outbound_traffic_policy, mesh.path_normalization) == ("ALLOW_ANY", "BASE")
    assert mesh.mesh_mtls_min_version == "TLSv1_2"


def test_settings_without_effect_are_named() -> None:
    loaded = load({"mesh.yaml": "ingressClass: istio\n"})

    [warning] = loaded.problems
    assert str(warning) == (
        "mesh.yaml:1:1: ingressClass: has no effect: Kubernetes Ingress is not read"
    )
