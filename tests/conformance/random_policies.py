"""Random RBAC and JWT filters, and requests that have a fair chance to meet them.

Few names and many overlaps, as in random_routes. Tokens are of HS256 and ES256, good, expired, for
another audience or of nobody.
"""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm, HMACAlgorithm

from tests.conformance.random_routes import Dice

Json = dict[str, Any]
_RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
_JWT = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
_TEMPLATE = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
_METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD")
_PATHS = (
    "/", "/a", "/a/b", "/admin", "/Admin", "/admin/", "/api/1", "/api/1/view", "/api/1[2]/view",
    "/a?x=1", "/admin?y", "/a;p", "/api//view", "/x%2Fy", "/a.js",
)  # fmt: skip
_PATH_VALUES = ("/", "/a", "/admin", "/api/", "/api/1", "/a/b", "/x%2Fy", ".js", "/view", "/A")
_TEMPLATES = ("/api/*", "/api/**", "/api/*/view", "/*", "/a/{x}", "/{a}/{b}")
"""Valid ones: Envoy 1.40 aborts on others in an RBAC filter."""
_HEADERS = ("x-a", "x-b", ":method", ":path", ":authority", "host", "user-agent")
_VALUES = ("1", "2", "abc", "ABC", "a,b", "GET", "/a", "a.test", "12", "admin")
_AUTHORITIES = ("a.test", "A.test", "b.test", "a.test:8080", "a.test.")
_IDS = (
    "spiffe://td/ns/a/sa/x", "spiffe://td/ns/a/sa/y", "spiffe://td/ns/b/sa/x", "spiffe://other/ns/a/sa/x",
    "spiffe://td/ns/a-b/sa/x", "spiffe://td/x",
)  # fmt: skip
_ID_REGEXES = (
    ".*/ns/a/.*",
    "spiffe://td/.*",
    ".*/sa/x",
    "(spiffe://td/ns/a/sa/x|spiffe://td/x)",
    ".+",
)
_CIDRS = (("127.0.0.1", 32), ("127.0.0.0", 8), ("10.1.0.0", 16), ("10.1.2.3", 32), ("0.0.0.0", 0))
_SOURCES = ("127.0.0.1", "10.1.2.3", "10.1.9.9", "192.168.0.1")
_PORTS = (8080, 8081, 80)
_SNI = ("a.test", "b.test", "")
_CLAIM_PATHS = (("iss",), ("sub",), ("aud",), ("role",), ("realm", "role"), ("scope",), ("n",))
_CLAIM_VALUES = ("one", "two", "alice", "admin", "read", "1")
_NAMES = ("p", "q", "a policy", "ns[x]-policy[y]-rule[0]", "Z", "\u00e9")
_SECRET = b"0123456789abcdef0123456789abcdef"
_OTHER = b"fedcba9876543210fedcba9876543210"
_FAR, _PAST = 4102444800, 1000000000


def case(seed: str, number: int) -> Json:
    """One configuration and its requests; the same for the same arguments."""
    dice = Dice(f"{seed}-authz-{number}")
    filters: list[Json] = []
    has_jwt = dice.chance(0.6)
    if has_jwt:
        filters.append({"name": "envoy.filters.http.jwt_authn", "typed_config": _jwt(dice)})
    filters += [
        {"name": f"rbac{i}" if i else "envoy.filters.http.rbac", "typed_config": _rbac(dice)}
        for i in range(1 + dice.upto(2))
    ]
    requests = [_request(dice, i, has_jwt=has_jwt) for i in range(10)]
    return {
        "name": f"authz-{seed}-{number}",
        "area": "random",
        "config": {
            "route_config": _routes(dice),
            "http_filters": filters,
            "hcm": _hcm(dice),
        },
        "requests": requests,
    }


def _hcm(dice: Dice) -> Json:
    found: Json = {}
    if dice.chance(0.5):
        found["normalize_path"] = True
        found["merge_slashes"] = dice.chance(0.5)
    if dice.chance(0.3):
        found["use_remote_address"] = True
        found["xff_num_trusted_hops"] = dice.upto(2)
    return found


def _routes(dice: Dice) -> Json:
    routes: list[Json] = []
    for prefix in ("/admin", "/api"):
        if dice.chance(0.3):
            route: Json = {"match": {"prefix": prefix}, "route": {"cluster": "one"}}
            override: Json = {"@type": _PER_ROUTE}
            if dice.chance(0.7):
                override["rbac"] = {k: v for k, v in _rbac(dice).items() if k != "@type"}
            route["typed_per_filter_config"] = {"envoy.filters.http.rbac": override}
            routes.append(route)
    routes.append({"match": {"prefix": "/"}, "route": {"cluster": "one"}})
    found: Json = {
        "name": "rc",
        "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}],
    }
    if dice.chance(0.2):
        found["ignore_path_parameters_in_path_matching"] = True
    return found


# -- RBAC -----------------------------------------------------------------------------------------


def _rbac(dice: Dice) -> Json:
    found: Json = {"@type": _RBAC}
    if dice.chance(0.9):
        found["rules"] = _rules(dice)
    if dice.chance(0.3):
        found["rules_stat_prefix"] = dice.one(("pre_", "own_"))
    if dice.chance(0.4):
        found["shadow_rules"] = _rules(dice)
        found["shadow_rules_stat_prefix"] = dice.one(("", "dry_", "try_"))
    return found


def _rules(dice: Dice) -> Json:
    found: Json = {}
    if dice.chance(0.7):
        found["action"] = dice.one(("ALLOW", "DENY", "DENY", "LOG"))
    names = dice.some(_NAMES, 4)
    if names:
        found["policies"] = {name: _policy(dice) for name in names}
    return found


def _policy(dice: Dice) -> Json:
    return {
        "permissions": [_permission(dice, 2) for _ in range(1 + dice.upto(1))],
        "principals": [_principal(dice, 2) for _ in range(1 + dice.upto(1))],
    }


def _permission(dice: Dice, depth: int) -> Json:
    if depth and dice.chance(0.35):
        groups: tuple[Callable[[], Json], ...] = (
            lambda: {"and_rules": {"rules": [_permission(dice, depth - 1) for _ in range(2)]}},
            lambda: {"or_rules": {"rules": [_permission(dice, depth - 1) for _ in range(2)]}},
            lambda: {"not_rule": _permission(dice, depth - 1)},
        )
        return dice.one(groups)()
    kinds: tuple[Callable[[], Json], ...] = (
        lambda: {"any": True},
        lambda: {"header": _header(dice)},
        lambda: {"header": _header(dice)},
        lambda: {"url_path": {"path": _string(dice, _PATH_VALUES)}},
        lambda: {"url_path": {"path": _string(dice, _PATH_VALUES)}},
        lambda: {"destination_port": dice.one(_PORTS)},
        lambda: {"destination_port_range": {"start": 80, "end": dice.one((81, 8081))}},
        lambda: {"destination_ip": _cidr(dice)},
        lambda: {"requested_server_name": _string(dice, ("a.test", "b.", ".test"))},
        lambda: {"metadata": _claim(dice)},
        lambda: {
            "uri_template": {
                "name": "t",
                "typed_config": {"@type": _TEMPLATE, "path_template": dice.one(_TEMPLATES)},
            }
        },
    )
    return dice.one(kinds)()


def _principal(dice: Dice, depth: int) -> Json:
    if depth and dice.chance(0.35):
        groups: tuple[Callable[[], Json], ...] = (
            lambda: {"and_ids": {"ids": [_principal(dice, depth - 1) for _ in range(2)]}},
            lambda: {"or_ids": {"ids": [_principal(dice, depth - 1) for _ in range(2)]}},
            lambda: {"not_id": _principal(dice, depth - 1)},
        )
        return dice.one(groups)()
    kinds: tuple[Callable[[], Json], ...] = (
        lambda: {"any": True},
        lambda: {"authenticated": {}},
        lambda: {"authenticated": {"principal_name": _id(dice)}},
        lambda: {"authenticated": {"principal_name": _id(dice)}},
        lambda: {"authenticated": {"principal_name": _id(dice)}},
        lambda: {"source_ip": _cidr(dice)},
        lambda: {"remote_ip": _cidr(dice)},
        lambda: {"direct_remote_ip": _cidr(dice)},
        lambda: {"header": _header(dice)},
        lambda: {"url_path": {"path": _string(dice, _PATH_VALUES)}},
        lambda: {"metadata": _claim(dice)},
    )
    return dice.one(kinds)()


def _id(dice: Dice) -> Json:
    if dice.chance(0.4):
        return {"safe_regex": {"regex": dice.one(_ID_REGEXES)}}
    return _string(dice, (*_IDS, "/ns/a/", "spiffe://td/", "/sa/x"))


def _cidr(dice: Dice) -> Json:
    address, length = dice.one(_CIDRS)
    return {"address_prefix": address, "prefix_len": length}


def _string(dice: Dice, values: tuple[str, ...]) -> Json:
    found: Json = {dice.one(("exact", "prefix", "suffix", "contains")): dice.one(values)}
    if dice.chance(0.2):
        found["ignore_case"] = True
    return found


def _header(dice: Dice) -> Json:
    found: Json = {"name": dice.one(_HEADERS)}
    match dice.upto(5):
        case 0:
            found["present_match"] = dice.chance(0.7)
        case 1:
            found["range_match"] = {"start": "1", "end": "13"}
        case 2:
            regex = dice.one(("a.*", "[0-9]+", ".*", "(GET|POST)", "/a.*"))
            found["string_match"] = {"safe_regex": {"regex": regex}}
        case _:
            found["string_match"] = _string(dice, _VALUES)
    if dice.chance(0.2):
        found["invert_match"] = True
    if dice.chance(0.15):
        found["treat_missing_header_as_empty"] = True
    return found


def _claim(dice: Dice) -> Json:
    path = dice.one(_CLAIM_PATHS)
    value: Json = {"string_match": _string(dice, _CLAIM_VALUES)}
    match dice.upto(5):
        case 0:
            value = {"present_match": True}
        case 1:
            value = {"list_match": {"one_of": value}}
        case 2:
            value = {"or_match": {"value_matchers": [value, {"list_match": {"one_of": value}}]}}
        case 3:
            value = {"double_match": {"exact": 1}}
        case _:
            pass
    found: Json = {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": key} for key in ("payload", *path)],
        "value": value,
    }
    if dice.chance(0.2):
        found["invert"] = True
    return found


# -- tokens ---------------------------------------------------------------------------------------


@cache
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def _jwks() -> str:
    """Both keys; the curve's own is made anew in each run."""
    public = json.loads(ECAlgorithm.to_jwk(_key().public_key()))
    secret = json.loads(HMACAlgorithm.to_jwk(_SECRET))
    return json.dumps({"keys": [{**secret, "kid": "s"}, {**public, "kid": "e"}]})


def _jwt(dice: Dice) -> Json:
    providers: Json = {}
    for name in ("one", "two")[: 1 + dice.upto(1)]:
        provider: Json = {"issuer": name, "local_jwks": {"inline_string": _jwks()}}
        if dice.chance(0.4):
            provider["audiences"] = ["aud-a"]
        if dice.chance(0.5):
            provider["forward"] = True
        if dice.chance(0.8):
            provider["payload_in_metadata"] = "payload"
        if dice.chance(0.3):
            provider["claim_to_headers"] = [{"header_name": "x-a", "claim_name": "role"}]
        if dice.chance(0.2):
            provider["forward_payload_header"] = "x-payload"
        if dice.chance(0.3):
            provider["from_headers"] = [{"name": "x-token", "value_prefix": "T "}]
        if dice.chance(0.2):
            provider["from_params"] = ["tok"]
        if dice.chance(0.2):
            provider["from_cookies"] = ["sid"]
        if dice.chance(0.3):
            claims = ["scope"]
            provider["normalize_payload_in_metadata"] = {"space_delimited_claims": claims}
        providers[name] = provider
    rules: list[Json] = []
    if dice.chance(0.3):
        rules.append({"match": {"prefix": "/api"}, "requires": _requirement(dice, providers, 1)})
    if dice.chance(0.9):
        rules.append({"match": {"prefix": "/"}, "requires": _requirement(dice, providers, 2)})
    return {
        "@type": _JWT,
        "providers": providers,
        "rules": rules,
        "bypass_cors_preflight": dice.chance(0.3),
    }


def _requirement(dice: Dice, providers: Json, depth: int) -> Json:
    if depth and dice.chance(0.5):
        some = [_requirement(dice, providers, depth - 1) for _ in range(2)]
        kind = dice.one(("requires_any", "requires_any", "requires_all"))
        return {kind: {"requirements": some}}
    name = dice.one(tuple(providers))
    return dice.one(
        (
            {"provider_name": name},
            {"provider_and_audiences": {"provider_name": name, "audiences": ["aud-b"]}},
            {"allow_missing": {}},
            {"allow_missing_or_failed": {}},
        )
    )


def _token(dice: Dice) -> str:
    claims: Json = {"iss": dice.one(("one", "one", "two", "three")), "sub": dice.one(("alice", ""))}
    claims["exp"] = dice.one((_FAR, _FAR, _FAR, _PAST))
    if dice.chance(0.2):
        claims["nbf"] = dice.one((_PAST, _FAR))
    if dice.chance(0.6):
        claims["aud"] = dice.one(("aud-a", ["aud-a", "aud-b"], "aud-b", "aud-c", []))
    if dice.chance(0.6):
        claims["role"] = dice.one(("admin", ["admin", "user"], 1, True, None, {"x": "admin"}))
    if dice.chance(0.3):
        claims["realm"] = {"role": "admin"}
    if dice.chance(0.3):
        claims["scope"] = dice.one(("read write", "read", ""))
    if dice.chance(0.2):
        claims["n"] = dice.one((1, 1.5, "1"))
    if dice.chance(0.4):
        return jwt.encode(claims, _key(), "ES256", headers={"kid": dice.one(("e", "e", "s"))})
    secret = dice.one((_SECRET, _SECRET, _SECRET, _OTHER))
    kid: Json = dice.one(({"kid": "s"}, {"kid": "s"}, {}, {"kid": "unknown"}))
    return jwt.encode(claims, secret, "HS256", headers=kid)


# -- requests -------------------------------------------------------------------------------------


def _request(dice: Dice, number: int, *, has_jwt: bool) -> Json:
    found: Json = {
        "id": f"r{number}",
        "method": dice.one(_METHODS),
        "authority": dice.one(_AUTHORITIES),
        "path": dice.one(_PATHS),
    }
    headers = [[name, dice.one(_VALUES)] for name in dice.some(("x-a", "x-a", "x-b"), 3)]
    if dice.chance(0.2):
        headers.append(["x-forwarded-for", ", ".join(dice.some(_SOURCES, 2)) or "10.1.2.3"])
    if dice.chance(0.2) and found["method"] == "OPTIONS":
        headers += [["origin", "https://a.test"], ["access-control-request-method", "GET"]]
    if has_jwt:
        _add_token(dice, found, headers)
    found["headers"] = headers
    if dice.chance(0.6):
        found["source_principal"] = dice.one(_IDS)
        if dice.chance(0.5):
            found["sni"] = dice.one(("a.test", "b.test"))
    elif dice.chance(0.2):
        found["tls"] = True
    if dice.chance(0.5):
        found["source_ip"] = dice.one(_SOURCES)
    if dice.chance(0.3):
        found["dest_port"] = dice.one(_PORTS)
    return found


def _add_token(dice: Dice, found: Json, headers: list[list[str]]) -> None:
    match dice.upto(9):
        case 0 | 1:
            pass
        case 2:
            headers.append(["authorization", dice.one(("Bearer x.y.z", "Basic abc", "Bearer "))])
        case 3:
            headers.append(["x-token", f"T {_token(dice)}"])
        case 4:
            separator = "&" if "?" in found["path"] else "?"
            found["path"] += f"{separator}{dice.one(('tok', 'access_token'))}={_token(dice)}"
        case 5:
            headers.append(["cookie", f"sid={_token(dice)}"])
        case 6:
            headers += [["authorization", f"Bearer {_token(dice)}"] for _ in range(2)]
        case _:
            headers.append(["authorization", f"Bearer {_token(dice)}"])
