"""Random route configurations; `case` makes a whole case of one."""

from tests.conformance.random_manager import filters, manager
from tests.conformance.random_requests import request
from tests.conformance.random_words import (
    CLUSTERS,
    DOMAINS,
    FIELDS,
    PREFIXES,
    REGEXES,
    TEMPLATES,
    Dice,
    Json,
    added,
    header_match,
    some_path,
    string_match,
)

__all__ = ["Dice", "Json", "case"]


def case(seed: str, number: int) -> Json:
    """A neutral case with twelve requests, or fewer."""
    dice = Dice(f"{seed}/{number}")
    return {
        "name": f"{seed}-{number}",
        "area": "differential",
        "config": {
            "route_config": _route_config(dice),
            "hcm": manager(dice),
            "http_filters": filters(dice),
            "extra_clusters": [*CLUSTERS, "shadow"],
        },
        "requests": [request(dice, i) for i in range(1 + dice.upto(11))],
    }


def _route_config(dice: Dice) -> Json:
    taken = dice.some(DOMAINS, 8) or ["*"]
    if dice.chance(0.7) and "*" not in taken:
        taken.append("*")
    # Envoy refuses a domain twice, whatever its case.
    domains = list({domain.lower(): domain for domain in taken}.values())
    hosts: list[Json] = []
    while domains:
        count = 1 + dice.upto(2)
        hosts.append(_virtual_host(dice, len(hosts), domains[:count]))
        domains = domains[count:]
    found: Json = {"virtual_hosts": hosts, **_mutations(dice, 0.4)}
    for name, share in (
        ("most_specific_header_mutations_wins", 0.3), ("ignore_port_in_host_matching", 0.2),
        ("ignore_path_parameters_in_path_matching", 0.15),
    ):  # fmt: skip
        if dice.chance(share):
            found[name] = True
    if dice.chance(0.15):
        found["internal_only_headers"] = ["x-b"]
    return found


def _virtual_host(dice: Dice, number: int, domains: list[str]) -> Json:
    found: Json = {
        "name": f"v{number}",
        "domains": domains,
        # Above twelve routes there is an index.
        "routes": [
            _route(dice, f"r{number}.{i}")
            for i in range(1 + dice.upto(4) + (14 if dice.chance(0.1) else 0))
        ],
        **_mutations(dice, 0.3),
    }
    if dice.chance(0.1):
        found["require_tls"] = dice.one(("ALL", "EXTERNAL_ONLY"))
    if dice.chance(0.2):
        found["virtual_clusters"] = [
            {"name": "vc", "headers": [header_match(dice) for _ in range(1 + dice.upto(1))]}
        ]
    if dice.chance(0.15):
        found["cors"] = _cors(dice)
    for name in (
        "include_request_attempt_count",
        "include_attempt_count_in_response",
        "include_is_timeout_retry_header",
    ):
        if dice.chance(0.15):
            found[name] = True
    return found


def _route(dice: Dice, name: str) -> Json:
    match, kind = _match(dice)
    found: Json = {"match": match, **_mutations(dice, 0.4)}
    if dice.chance(0.8):
        found["name"] = name
    draw = dice.upto(99)
    if draw < 70:
        found["route"] = _action(dice, kind)
    elif draw < 85:
        found["redirect"] = _redirect(dice, kind)
    elif draw < 97:
        found["direct_response"] = _direct(dice)
    else:
        found["non_forwarding_action"] = {}
    return found


# -- matches -------------------------------------------------------------------------------


def _match(dice: Dice) -> tuple[Json, str]:
    kind = dice.one(("prefix", "prefix", "path", "safe_regex", "path_separated_prefix", "template"))
    match: Json
    if kind == "prefix":
        match = {"prefix": dice.one(PREFIXES)}
    elif kind == "path":
        match = {"path": some_path(dice).split("?")[0].split("#")[0]}
    elif kind == "safe_regex":
        match = {"safe_regex": {"regex": dice.one(REGEXES)}}
    elif kind == "path_separated_prefix":
        match = {"path_separated_prefix": dice.one([p for p in PREFIXES if p[-1] != "/"])}
    else:
        match = {
            "path_match_policy": {
                "name": "t",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3"
                    ".UriTemplateMatchConfig",
                    "path_template": dice.one(TEMPLATES),
                },
            }
        }
    if dice.chance(0.15) and kind in ("prefix", "path"):
        match["case_sensitive"] = False
    if dice.chance(0.3):
        match["headers"] = [header_match(dice) for _ in range(1 + dice.upto(1))]
    if dice.chance(0.2):
        match["query_parameters"] = [_query(dice)]
    if dice.chance(0.05):
        match["grpc"] = {}
    if dice.chance(0.1):
        share = {"numerator": dice.one((0, 100)), "denominator": "HUNDRED"}
        match["runtime_fraction"] = {"default_value": share}
    if dice.chance(0.05):
        match["cookies"] = [{"name": "s", "string_match": string_match(dice)}]
    return match, kind


def _query(dice: Dice) -> Json:
    name = dice.one(("q", "a", "empty"))
    if dice.chance(0.4):
        return {"name": name, "present_match": dice.chance(0.8)}
    return {"name": name, "string_match": string_match(dice)}


# -- actions -------------------------------------------------------------------------------


def _action(dice: Dice, kind: str) -> Json:
    found: Json = {}
    draw = dice.upto(99)
    if draw < 65:
        found["cluster"] = dice.one(CLUSTERS)
    elif draw < 80:
        found["weighted_clusters"] = _weighted(dice)
    elif draw < 90:
        found["cluster_header"] = dice.one(("x-a", "x-cluster", ":authority"))
    else:
        found["cluster"] = "missing"
        if dice.chance(0.5):
            found["cluster_not_found_response_code"] = dice.one(
                ("NOT_FOUND", "SERVICE_UNAVAILABLE")
            )
    found.update(_path_rewrite(dice, kind))
    found.update(_host_rewrite(dice))
    if dice.chance(0.25):
        found["retry_policy"] = _retry(dice)
    if dice.chance(0.1):
        found["cors"] = _cors(dice)
    if dice.chance(0.1):
        found["append_x_forwarded_host"] = True
    if dice.chance(0.1):
        mirror: Json = {"cluster": "shadow"}
        if dice.chance(0.3):
            mirror["disable_shadow_host_suffix_append"] = True
        found["request_mirror_policies"] = [mirror]
    if dice.chance(0.1):
        found["timeout"] = dice.one(("0s", "5s", "1.5s"))
    if dice.chance(0.1):
        found["max_stream_duration"] = {"max_stream_duration": "4s"}
    return found


def _retry(dice: Dice) -> Json:
    words = ("5xx", "gateway-error", "reset", "retriable-4xx", "retriable-status-codes",
             "retriable-headers", "connect-failure", "envoy-ratelimited", "refused-stream",
             "unavailable", "internal", "bogus")  # fmt: skip
    found: Json = {
        "retry_on": ",".join(dice.some(words, 4)),
        "num_retries": dice.upto(3),
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
    }
    if dice.chance(0.4):
        found["retriable_status_codes"] = [404, 409]
    if dice.chance(0.3):
        found["retriable_headers"] = [{"name": "x-r", "string_match": string_match(dice)}]
    if dice.chance(0.2):
        found["retriable_request_headers"] = [header_match(dice)]
    return found


def _cors(dice: Dice) -> Json:
    found: Json = {
        "allow_origin_string_match": [{"exact": "https://a.com"}, {"prefix": "https://b."}],
        "allow_methods": dice.one(("", "GET,PUT")),
        "allow_headers": dice.one(("", "x-a")),
        "expose_headers": dice.one(("", "x-r")),
        "max_age": dice.one(("", "600")),
    }
    for name in (
        "allow_credentials",
        "allow_private_network_access",
        "forward_not_matching_preflights",
    ):
        if dice.chance(0.4):
            found[name] = dice.chance(0.7)
    return found


def _weighted(dice: Dice) -> Json:
    """Only one entry can be drawn, or the request says which."""
    if dice.chance(0.5):
        weights = dice.one(((0, 1), (1, 0), (7, 0, 0)))
        found: Json = {}
    else:
        weights = (3, 1)
        found = {"header_name": "x-a"}
    entries: list[Json] = []
    for name, weight in zip(CLUSTERS, weights, strict=False):
        entry: Json = {"name": name, "weight": weight, **_mutations(dice, 0.3)}
        if dice.chance(0.1):
            entry["host_rewrite_literal"] = "weighted.test"
        entries.append(entry)
    if "header_name" in found:
        # Without the header the draw is by chance: one cluster, then, for all.
        for entry in entries:
            entry["name"] = "one"
            for key in [k for k in entry if k not in ("name", "weight")]:
                del entry[key]
    return {**found, "clusters": entries}


def _path_rewrite(dice: Dice, kind: str) -> Json:
    draw = dice.upto(99)
    if draw < 20 and (kind != "template" or dice.chance(0.1)):
        return {"prefix_rewrite": dice.one(("/", "/new", "/new/", "/a"))}
    if draw < 35:
        return {"regex_rewrite": _regex_rewrite(dice)}
    if draw < 60 and kind == "template":
        rewrite = dice.one(("/n", "/new/{x}", "/{v}/z", "/{y}{x}"))
        return {
            "path_rewrite_policy": {
                "name": "t",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3"
                    ".UriTemplateRewriteConfig",
                    "path_template_rewrite": rewrite,
                },
            }
        }
    return {}


def _regex_rewrite(dice: Dice) -> Json:
    regex, into = dice.one(
        (
            ("^/a/(.*)$", "/z/\\1"), ("/", "//"), ("[ab]", "c"), ("^/(\\w+)/(\\w+)", "/\\2/\\1"),
            ("x*", "-"), ("(a)(b)?", "\\2\\1"), ("%2F", "/"),
        )
    )  # fmt: skip
    return {"pattern": {"regex": regex}, "substitution": into}


def _host_rewrite(dice: Dice) -> Json:
    draw = dice.upto(99)
    if draw < 12:
        return {"host_rewrite_literal": "new.test"}
    if draw < 20:
        return {"host_rewrite_header": dice.one(("x-a", "x-none"))}
    if draw < 28:
        return {
            "host_rewrite_path_regex": {
                "pattern": {"regex": "^/([a-z]+)/.*$"},
                "substitution": "\\1.test",
            }
        }
    return {}


def _redirect(dice: Dice, kind: str) -> Json:
    found: Json = {}
    if dice.chance(0.5):
        found["host_redirect"] = dice.one(("new.test", "new.test:8443"))
    draw = dice.upto(99)
    if draw < 25:
        found["path_redirect"] = dice.one(("/p", "/p?x=1", "/p#f"))
    elif draw < 50 and (kind != "template" or dice.chance(0.1)):
        found["prefix_rewrite"] = dice.one(("/", "/pre", "/pre/"))
    elif draw < 65:
        found["regex_rewrite"] = _regex_rewrite(dice)
    if dice.chance(0.2):
        found["https_redirect"] = True
    elif dice.chance(0.2):
        found["scheme_redirect"] = dice.one(("https", "http"))
    if dice.chance(0.3):
        found["port_redirect"] = dice.one((80, 443, 8080))
    if dice.chance(0.3):
        found["strip_query"] = True
    if dice.chance(0.4):
        found["response_code"] = dice.one(
            ("FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT")
        )
    return found


def _direct(dice: Dice) -> Json:
    found: Json = {"status": dice.one((200, 204, 403, 418, 503))}
    if dice.chance(0.6) and found["status"] != 204:
        found["body"] = {"inline_string": dice.one(("hello", "x"))}
    return found


# -- headers -------------------------------------------------------------------------------


def _mutations(dice: Dice, share: float) -> Json:
    found: Json = {}
    for side in ("request", "response"):
        if dice.chance(share):
            found[f"{side}_headers_to_add"] = [added(dice) for _ in range(1 + dice.upto(1))]
        if dice.chance(share / 2):
            found[f"{side}_headers_to_remove"] = dice.some(FIELDS, 2)
    return found


# -- requests ------------------------------------------------------------------------------
