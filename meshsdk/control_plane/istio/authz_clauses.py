"""One attribute of a policy as Envoy's permission or principal. FEED.md 3.9, table."""

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Final

from meshsdk.control_plane.istio.authorization_policy import Match
from meshsdk.control_plane.istio.policy_values import has_template
from meshsdk.control_plane.shapes.tls import Json

_SPIFFE: Final = "spiffe://"
_ANY: Final = ".+"
_JWT: Final = "envoy.filters.http.jwt_authn"
_TEMPLATE: Final = (
    "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
)
_META: Final = re.compile(r"([\\.+*?()|\[\]{}^$])")  # what Go's regexp.QuoteMeta escapes
_Clause = Callable[[str], Json]


def is_permission(match: Match) -> bool:
    """Whether istiod writes the attribute as a permission, else as a principal."""
    return match.attribute in _PERMISSIONS or match.attribute.startswith("experimental.")


def permissions(match: Match) -> list[Json]:
    """What the attribute must be, and must not be, as permissions."""
    found: list[Json] = []
    for values, is_negated in ((match.values, False), (match.not_values, True)):
        if values:
            clause = _permission(match, values)
            found.append({"not_rule": clause} if is_negated else clause)
    return found


def principals(match: Match, namespace: str) -> list[Json]:
    """The same as principals. `namespace`: the policy's, of service accounts without one."""
    if match.is_filled_header:
        positive = [_principal(match, match.values, namespace)] if match.values else []
        header: Json = {"name": match.names[0], "string_match": _regex(_ANY)}
        return [*positive, {"or_ids": {"ids": [{"header": header}]}}]
    found: list[Json] = []
    for values, is_negated in ((match.values, False), (match.not_values, True)):
        if values:
            clause = _principal(match, values, namespace)
            found.append({"not_id": clause} if is_negated else clause)
    return found


def _permission(match: Match, values: Sequence[str]) -> Json:
    clause = _PERMISSIONS.get(match.attribute)
    if clause is not None:
        return {"or_rules": {"rules": [clause(value) for value in values]}}
    matchers = [_envoy_value(value) for value in values]
    value = matchers[0] if len(matchers) == 1 else {"or_match": {"value_matchers": matchers}}
    filter_name = match.attribute.removeprefix("experimental.")
    return {"metadata": {"filter": filter_name, "path": _path(*match.names), "value": value}}


def _principal(match: Match, values: Sequence[str], namespace: str) -> Json:
    match match.attribute:
        case "request.auth.principal":
            clauses = [_request_principal(value) for value in values]
            return clauses[0] if len(clauses) == 1 else {"or_ids": {"ids": clauses}}
        case "request.auth.audiences":
            return _claim(("aud",), values)
        case "request.auth.presenter":
            return _claim(("azp",), values)
        case "request.auth.claims":
            return _claim(match.names, values)
        case "request.headers":
            name = match.names[0]
            return {"or_ids": {"ids": [{"header": header(name, value)} for value in values]}}
        case "source.serviceAccount":
            ids = [_service_account(value, namespace) for value in values]
            return {"or_ids": {"ids": ids}}
        case attribute:
            clause = _PRINCIPALS[attribute]
            return {"or_ids": {"ids": [clause(value) for value in values]}}


# -- leaves ---------------------------------------------------------------------------------


def string_match(value: str) -> Json:
    """`*` any but empty, `*x` suffix, `x*` prefix, else exact."""
    if value == "*":
        return _regex(_ANY)
    if value.startswith("*"):
        return {"suffix": value[1:]}
    if value.endswith("*"):
        return {"prefix": value[:-1]}
    return {"exact": value}


def header(name: str, value: str) -> Json:
    """The same as a header matcher; `*` is present."""
    if value == "*":
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": string_match(value)}


def _host(value: str) -> Json:
    matcher = header(":authority", value)
    if value == "*":
        return {"header": matcher}
    return {"header": {**matcher, "string_match": {**string_match(value), "ignore_case": True}}}


def _url_path(value: str) -> Json:
    if has_template(value):
        template = value.replace("{**}", "**").replace("{*}", "*")
        config = {"@type": _TEMPLATE, "path_template": template}
        return {"uri_template": {"name": "uri-template", "typed_config": config}}
    return {"url_path": {"path": string_match(value)}}


def _source_principal(value: str) -> Json:
    if value == "*":
        return _authenticated(_regex(_ANY))
    if value.startswith("*"):
        return _authenticated(_regex(f"{_SPIFFE}.*{_quoted(value[1:])}"))
    if value.endswith("*"):
        return _authenticated({"prefix": _SPIFFE + value[:-1]})
    return _authenticated({"exact": _SPIFFE + value})


def _source_namespace(value: str) -> Json:
    return _authenticated(_regex(f".*/ns/{_quoted(value, '.*')}/.*"))


def _trust_domain(value: str) -> Json:
    if value == "*":
        return _authenticated({"prefix": _SPIFFE})
    if "*" in value:
        return _authenticated(_regex(f"{_SPIFFE}{_quoted(value, '[^/]*')}/.*"))
    return _authenticated({"prefix": f"{_SPIFFE}{value}/"})


def _service_account(value: str, namespace: str) -> Json:
    first, slash, rest = value.partition("/")
    space, account = (first, rest) if slash else (namespace, first)
    pattern = f"{_SPIFFE}.+/ns/{_quoted(space)}/(.+/|)sa/{_quoted(account)}(/.+)?"
    return _authenticated(_regex(pattern))


def _request_principal(value: str) -> Json:
    """Issuer and subject, split at the last slash; a wildcard is of one of them."""
    issuer, slash, subject = value.rpartition("/")
    if not slash:
        issuer, subject = value, ""
    if value == "*":
        pair = _regex(_ANY), _regex(_ANY)
    elif value.startswith("*"):
        exact: Json = {"exact": subject}
        pair = (string_match(issuer), exact) if slash else (_regex(_ANY), {"suffix": value[1:]})
    elif value.endswith("*"):
        exact = {"exact": issuer}
        pair = (exact, string_match(subject)) if slash else ({"prefix": value[:-1]}, _regex(_ANY))
    else:
        pair = {"exact": issuer}, {"exact": subject}
    ids = [_jwt(("iss",), {"string_match": pair[0]}), _jwt(("sub",), {"string_match": pair[1]})]
    return {"and_ids": {"ids": ids}}


def _claim(names: Sequence[str], values: Sequence[str]) -> Json:
    """The claim is one of the values, or a list that has one."""
    matchers: list[Json] = [{"string_match": string_match(value)} for value in values]
    one = matchers[0] if len(matchers) == 1 else {"or_match": {"value_matchers": matchers}}
    either = [{"list_match": {"one_of": one}}, one]
    return _jwt(names, {"or_match": {"value_matchers": either}})


def _jwt(names: Sequence[str], value: Json) -> Json:
    return {"metadata": {"filter": _JWT, "path": _path("payload", *names), "value": value}}


def _envoy_value(value: str) -> Json:
    if value.startswith("[") and value.endswith("]"):
        return {"list_match": {"one_of": {"string_match": string_match(value.strip("[]"))}}}
    return {"string_match": string_match(value)}


def _path(*keys: str) -> list[Json]:
    return [{"key": key} for key in keys]


def _authenticated(matcher: Json) -> Json:
    return {"authenticated": {"principal_name": matcher}}


def _regex(pattern: str) -> Json:
    return {"safe_regex": {"regex": pattern}}


def _quoted(text: str, wildcard: str = "") -> str:
    """The text for a regex. `wildcard`: what a `*` in it stands for; none where it is literal."""
    quoted = _META.sub(r"\\\1", text)
    return quoted.replace(r"\*", wildcard) if wildcard else quoted


def _range(value: str) -> Json:
    address, slash, bits = value.partition("/")
    found = ipaddress.ip_address(address)
    return {
        "address_prefix": str(found),
        "prefix_len": int(bits) if slash else found.max_prefixlen,
    }


_PERMISSIONS: Final[dict[str, _Clause]] = {
    "hosts": _host,
    "methods": lambda value: {"header": header(":method", value)},
    "paths": _url_path,
    "destination.port": lambda value: {"destination_port": int(value)},
    "destination.ip": lambda value: {"destination_ip": _range(value)},
    "connection.sni": lambda value: {"requested_server_name": string_match(value)},
}
_PRINCIPALS: Final[dict[str, _Clause]] = {
    "source.principal": _source_principal,
    "source.namespace": _source_namespace,
    "source.trustDomain": _trust_domain,
    "source.ip": lambda value: {"direct_remote_ip": _range(value)},
    "remote.ip": lambda value: {"remote_ip": _range(value)},
}
