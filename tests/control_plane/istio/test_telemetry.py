"""Telemetry: refusals, and what of several documents counts."""

import pytest

from meshsdk.control_plane.istio.access_log import access_loggers
from meshsdk.control_plane.istio.authn import KeySets
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.envoy_json import message
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.proxies import Proxy, parse_proxy
from meshsdk.control_plane.istio.registry_build import build_registry
from meshsdk.control_plane.istio.tracing import tracing_of

_PROXY: Proxy = parse_proxy(
    {
        "id": "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local",
        "metadata": {"LABELS": {"app": "a"}},
    }
)
_MESH = """\
accessLogFile: /dev/stdout
extensionProviders:
- {name: file, envoyFileAccessLog: {path: /tmp/log, logFormat: {text: "%PROTOCOL%"}}}
---
"""


def _text(spec: str, name: str = "t", namespace: str = "shop") -> str:
    return f"""\
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
---
"""


def _config(text: str) -> Config:
    loaded = load({"a.yaml": text})
    assert not loaded.errors
    return Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))


def _paths(*texts: str) -> list[object]:
    loggers = access_loggers(_config(_MESH + "".join(texts)), _PROXY, "CLIENT")
    return [message(logger["typed_config"])["path"] for logger in loggers]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("{accessLog: []}", "spec.accessLog: unknown field, did you mean accessLogging?"),
        ("{accessLogging: [{match: {mode: BOTH}}]}", "expected one of CLIENT_AND_SERVER"),
        ("{tracing: [{randomSamplingPercentage: 101}]}", "expected 0 to 100, found 101"),
        ("{tracing: [{customTags: {a: {}}}]}", "expected literal or environment or header"),
        ("{metrics: [{overrides: [{tagOverrides: {a: {}}}]}]}", "expected a value"),
        ("{targetRefs: []}", "refused: policies of waypoints"),
    ],
)
def test_what_istiod_refuses_is_refused(spec: str, problem: str) -> None:
    errors = load({"a.yaml": _text(spec)}).errors

    assert problem in "\n".join(map(str, errors))


def test_the_nearest_document_names_the_log() -> None:
    mesh = _text("{accessLogging: [{providers: [{name: envoy}]}]}", "mesh", "istio-system")
    workload = _text(
        "{selector: {matchLabels: {app: a}}, accessLogging: [{providers: [{name: file}]}]}", "own"
    )

    assert _paths() == ["/dev/stdout"]
    assert _paths(mesh) == ["/dev/stdout"]
    assert _paths(mesh, workload) == ["/tmp/log"]


def test_a_disabled_log_is_gone() -> None:
    off = _text("{accessLogging: [{providers: [{name: envoy}], disabled: true}]}")

    assert _paths(off) == []


def test_a_rule_for_servers_says_nothing_of_calls() -> None:
    rule = "{match: {mode: SERVER}, randomSamplingPercentage: 50}"
    config = _config(_text(f"{{tracing: [{rule}]}}"))

    found = [tracing_of(config, _PROXY, side) for side in ("CLIENT", "SERVER")]

    assert [block["random_sampling"] for block in found if block] == [
        {"value": 1.0},
        {"value": 50.0},
    ]


def test_spans_can_be_turned_off() -> None:
    config = _config(_text("{tracing: [{disableSpanReporting: true}]}"))

    assert tracing_of(config, _PROXY, "CLIENT") is None
