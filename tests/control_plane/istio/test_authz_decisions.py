"""AuthorizationPolicies to decisions: 48,334 by path and the recorded fields, hosts, methods, addresses
and principals, each equal to Envoy's, or stricter by a named rule."""

import json
import lzma
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, cast

import pytest

from meshsdk.call.certificate import Certificate
from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request
from meshsdk.config.reader import Reader
from meshsdk.control_plane.istio.authorization_policy import AuthorizationPolicy
from meshsdk.control_plane.istio.authz import authorization_filters
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.mesh_config import MeshConfig
from meshsdk.control_plane.istio.selectors import Workload
from meshsdk.filters import rbac
from meshsdk.resources.hcm_options import HcmOptions, parse_hcm_options
from meshsdk.routing.canonical import canonicalize
from meshsdk.routing.upgrade import refuse_upgrade
from meshsdk.wire.json_form import normalize
from tests.filters.policy_case import ENVOY, STRICT
from tests.routing.calls import context

Json: TypeAlias = Mapping[str, object]
Compat: TypeAlias = Literal["strict", "envoy"]
Names: TypeAlias = tuple[list[str], list[str], str]
FieldRow: TypeAlias = tuple[
    str, str | None, list[tuple[str, str]] | None, Names | None, Json | None, dict[str, str]
]
"""Case, octets of HTTP/1.1 or fields of HTTP/2, names of the peer's certificate (URI, DNS, subject),
what Envoy forwarded, decisions by policy."""


class Paths(TypedDict):
    """Request targets in each mode: outcome, forwarded path, one letter for each policy."""

    modes: dict[str, Json]
    policies: dict[str, Json]
    order: list[str]
    rows: list[tuple[str, dict[str, tuple[str, str | None, str]]]]


class Fields(TypedDict):
    """Requests, and the decision of each policy."""

    policies: dict[str, Json]
    ip_modes: dict[str, Json]
    rows: list[FieldRow]


class Recorded(TypedDict):
    """tests/data/authz.json.xz."""

    paths: Paths
    fields: Fields
    path_params: dict[str, list[str]]


_FILE = Path(__file__).parents[2] / "data" / "authz.json.xz"
RECORDED = cast("Recorded", json.loads(lzma.decompress(_FILE.read_bytes())))
PATHS, FIELDS = RECORDED["paths"], RECORDED["fields"]
CUT = {"envoy.reloadable_features.http_reject_path_with_fragment": False}
EXTENSIONS = {
    "envoy": replace(ENVOY, runtime=CUT, local_address="192.0.2.2"),
    "strict": replace(STRICT, runtime=CUT, local_address="192.0.2.2"),
}


def _filter(spec: Json, compat: Compat) -> rbac.Rbac:
    """The filter that istiod would send for one policy."""
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "foo"},
        "spec": spec,
    }
    loaded = load({"p.yaml": json.dumps(document)})
    assert not loaded.errors
    [made] = authorization_filters(
        loaded.all(AuthorizationPolicy), Workload("foo", {}), MeshConfig(trust_domain="td.test"), {}
    ).http
    config = cast("Json", made["typed_config"])
    message = normalize(str(config["@type"]), config)
    return rbac.parse(Reader(message, "rbac"), EXTENSIONS[compat])


@cache
def _path_filters(compat: Compat) -> list[rbac.Rbac]:
    return [_filter(PATHS["policies"][name], compat) for name in PATHS["order"]]


@cache
def _field_filters(compat: Compat) -> dict[str, rbac.Rbac]:
    return {name: _filter(spec, compat) for name, spec in FIELDS["policies"].items()}


def _options(mode: Json, compat: Compat) -> HcmOptions:
    reader = Reader({"generate_request_id": False, **mode})
    return parse_hcm_options(reader, EXTENSIONS[compat])


def _letter(http_filter: rbac.Rbac, request: Request, call: CallContext) -> str:
    return "d" if isinstance(http_filter.on_request(request, call), LocalReply) else "a"


# -- paths ----------------------------------------------------------------------------------------


def _by_path(mode: str, compat: Compat) -> list[tuple[str, str, str]]:
    """Target, Envoy's decisions, ours: where they differ; `r` is an answer before any policy."""
    options, filters = _options(PATHS["modes"][mode], compat), _path_filters(compat)
    call = context()
    wrong: list[tuple[str, str, str]] = []
    for target, results in PATHS["rows"]:
        outcome, _, letters = results[mode]
        found = canonicalize(Request("GET", "a.test", target), options, context())
        if isinstance(found, LocalReply):
            ours = "r" * len(letters)
        else:
            ours = "".join(_letter(each, found, call) for each in filters) if letters else ""
            if not letters and outcome == "reject":
                ours = "passed"
        if ours != letters:
            wrong.append((target, letters, ours))
    return wrong


def test_all_path_decisions_are_there() -> None:
    assert sum(len(r[2]) for _, row in PATHS["rows"] for r in row.values()) == 48_334


@pytest.mark.parametrize("mode", PATHS["modes"])
def test_every_decision_by_path_is_envoys(mode: str) -> None:
    assert _by_path(mode, "envoy") == []


@pytest.mark.parametrize("mode", PATHS["modes"])
def test_strict_decides_by_path_as_envoy_or_denies(mode: str) -> None:
    looser = [
        (target, PATHS["order"][i])
        for target, envoys, ours in _by_path(mode, "strict")
        for i, (theirs, our) in enumerate(zip(envoys, ours, strict=True))
        if theirs == "d" and our == "a"
    ]

    assert looser == []


# What strict denies beyond Envoy, and the rule that says so (threat model, section 12).
TEMPLATES = {"D_tmpl_one", "D_tmpl_any", "D_tmpl_mid", "D_tmpl_lead"}


@pytest.mark.parametrize("mode", PATHS["modes"])
def test_strict_denies_more_only_by_template_or_before_policies(mode: str) -> None:
    unnamed = [
        (target, PATHS["order"][i])
        for target, envoys, ours in _by_path(mode, "strict")
        for i, (theirs, our) in enumerate(zip(envoys, ours, strict=True))
        if our == "d" and theirs == "a" and PATHS["order"][i] not in TEMPLATES
    ]

    assert unnamed == []


# -- fields, hosts, methods, addresses, principals ------------------------------------------------

# A socket's own codec settles these before there is a request to look at: tests/integrations.
CODEC = (
    "framing/", "syntax/", "line/", "limits/", "h2/field/", "host/''", "method/override :method",
    "h2/pseudo/path_after", "h2/pseudo/unknown", "h2/pseudo/protocol", "h2/pseudo/status",
)  # fmt: skip


def _request(row: FieldRow) -> Request | None:
    """The request as a codec gives it; None where none would."""
    _, raw, pseudo, _, _, _ = row
    if pseudo is not None:
        fields = dict(pseudo)
        if len(fields) != len(pseudo) or not {":method", ":path"} <= fields.keys():
            return None
        rest = [(n, v) for n, v in pseudo if not n.startswith(":") and n != "host"]
        authority = fields.get(":authority", fields.get("host", ""))
        scheme = fields.get(":scheme", "http")
        return Request(fields[":method"], authority, fields[":path"], Headers(rest), scheme, "h2")
    if raw is None:
        return Request("GET", "a.test", "/")
    first, *lines = raw.split("\r\n\r\n")[0].split("\r\n")
    if first.count(" ") != 2:
        return None
    method, target, _ = first.split(" ")
    pairs = [(n.lower(), v.strip(" \t")) for n, _, v in (line.partition(":") for line in lines)]
    hosts = ",".join(value for name, value in pairs if name == "host")
    return Request(method, hosts, target, Headers(p for p in pairs if p[0] != "host"))


def _mode_of(case: str) -> Json:
    if case.startswith("xff/"):
        kind = case.rpartition("/")[2]
        return {name.partition("(")[0]: mode for name, mode in FIELDS["ip_modes"].items()}[kind]
    if case.startswith("underscore/us_"):
        action = {"headers_with_underscores_action": case.removeprefix("underscore/us_")}
        return {"common_http_protocol_options": action}
    if case == "host/strip_port":
        return {"strip_any_host_port": True}
    return {"upgrade_configs": [{"upgrade_type": "websocket"}]}


def _call(names: Names | None) -> CallContext:
    if names is None:
        return context()
    uris, dns, subject = names
    certificate = Certificate(tuple(uris), tuple(dns), subject)
    call = context(certificate=certificate)
    if certificate == Certificate():  # TLS, and no certificate of the client's
        call.connection = replace(call.connection, peer=context().connection.peer)
    return call


def _by_field(row: FieldRow, compat: Compat) -> dict[str, str]:
    case, _, _, names, _, decisions = row
    options = _options({"normalize_path": True, **_mode_of(case)}, compat)
    call, request = _call(names), _request(row)
    assert request is not None
    found = canonicalize(request, options, call)
    if isinstance(found, LocalReply) or refuse_upgrade(found, options, None) is not None:
        return dict.fromkeys(decisions, "reject")
    words = {"a": "allow", "d": "deny"}
    filters = _field_filters(compat)
    return {name: words[_letter(filters[name], found, call)] for name in decisions}


ROWS = [row for row in FIELDS["rows"] if not row[0].startswith(CODEC) and _request(row)]


def _differences(compat: Compat) -> list[tuple[str, str, str, str]]:
    """Case, policy, Envoy's decision, ours. An answer before any policy is no difference where
    Envoy does not let the request pass either, whatever its status."""
    found: list[tuple[str, str, str, str]] = []
    for row in ROWS:
        ours = _by_field(row, compat)
        found += [
            (row[0], name, theirs, ours[name])
            for name, theirs in row[5].items()
            if ours[name] != theirs and (theirs == "allow" or ours[name] != "reject")
        ]
    return found


def test_every_decision_by_field_is_envoys() -> None:
    assert sum(len(row[5]) for row in ROWS) > 1900
    assert _differences("envoy") == []


# Threat model, section 12: host-dot-port; host-grammar and dup-host; target-form, method-token-case,
# fragments; a principal is what a certificate vouches for.
STRICTER = {
    "deny": ("host/'secret.test", "h2/host/authority_port", "principal/"),
    "reject": ("host/", "h2/pseudo/method_lower", "h2/pseudo/admin_frag"),
}


def test_strict_decides_by_field_as_envoy_or_is_stricter_by_name() -> None:
    unnamed = [
        differing for differing in _differences("strict")
        if not differing[0].startswith(STRICTER.get(differing[3], ()))
    ]  # fmt: skip

    assert unnamed == []


# -- path parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RECORDED["path_params"])
@pytest.mark.parametrize("ignore", [False, True])
def test_path_parameters_are_ignored_where_the_routes_ignore_them(path: str, ignore: bool) -> None:
    template = path.startswith("/api")
    paths = ["/api/{*}/view"] if template else ["/admin"]
    deny = _filter(
        {"action": "DENY", "rules": [{"to": [{"operation": {"paths": paths}}]}]}, "envoy"
    )
    call = context()
    call.ignore_path_parameters = ignore
    request = canonicalize(
        Request("GET", "a.test", path), _options({"normalize_path": True}, "envoy"), call
    )

    assert isinstance(request, Request)
    expected = RECORDED["path_params"][path][ignore].split(" ")[0]
    assert _letter(deny, request, call) == expected[0]
