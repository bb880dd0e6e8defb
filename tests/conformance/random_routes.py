"""Random route configurations, and requests that have a fair chance to match them.

Few names and many overlaps: what is rare in the field, two rules for one request, is common here.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

Json = dict[str, Any]
T = TypeVar("T")

_DOMAINS = (
    "*", "a.test", "A.Test", "b.test", "a.test:8080", "*.test", "*.a.test", "a.*", "b.*", "*-x.test",
    "a.test:*", "c.test.", "[::1]", "*.b.test:8080",
)  # fmt: skip
_AUTHORITIES = (
    "a.test", "A.TEST", "b.test", "a.test:8080", "a.test:80", "x.a.test", "b.a.test:8080", "q-x.test",
    "a.org", "b.", "c.test.", "c.test", "[::1]", "[::1]:8080", "a.test.", "x.b.test:8080", "test",
)  # fmt: skip
_SEGMENTS = ("a", "b", "api", "v1", "A", "", ".", "..", "x%2Fy", "a%20b", "b;p=1")
_PREFIXES = ("/", "/a", "/a/", "/api", "/api/v1", "/A", "/b/", "/a/b", "/x%2Fy")
_REGEXES = ("/a.*", "/(a|b)/.*", "/api/v[0-9]+", ".*", "/a/b", "/[a-c]*", "/a(/.*)?", "(?i)/API/.*")
_TEMPLATES = ("/a/{x}", "/api/{v}/b", "/{x=*}/{y=**}", "/a/*", "/{n}/b", "/a/**")
_HEADERS = ("x-a", "x-b", "x-user", "user-agent", "accept", ":method", ":path", ":authority")
_VALUES = ("1", "2", "abc", "ABC", "a,b", "", " x", "12", "-3", "100", "curl/8", "application/json")
_CLUSTERS = ("one", "two", "three")
_ACTIONS = (
    "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS",
)  # fmt: skip
_FORMATS = (
    "v", "", "%REQ(x-a)%", "%REQ(X-NONE?x-b):2%", "%PROTOCOL%", "%REQ(:PATH)%-%REQ(:METHOD)%", "%%",
    "%ROUTE_NAME%", "%UPSTREAM_CLUSTER%", "%RESPONSE_CODE%", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_LOCAL_PORT%", "%RESP(x-r)%", "%REQ(:AUTHORITY)%",
    "%VIRTUAL_CLUSTER_NAME%", "%PER_REQUEST_STATE(x)%", "%REQUESTED_SERVER_NAME%",
    "%RESPONSE_FLAGS%", "%RESPONSE_CODE_DETAILS%", "%DYNAMIC_METADATA(a:b)%",
)  # fmt: skip
_PORTED = ("x-a", "x-b", "x-new", "x-multi", "user-agent", "x-r", "content-type")


class Dice:
    """Draws for one case."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)

    def one(self, of: Sequence[T]) -> T:
        """One of them."""
        return self._random.choice(of)

    def some(self, of: Sequence[T], most: int) -> list[T]:
        """Up to `most` different ones."""
        return self._random.sample(of, self.upto(min(most, len(of))))

    def upto(self, most: int) -> int:
        """0 to `most`."""
        return self._random.randint(0, most)

    def chance(self, share: float) -> bool:
        """True for that share of the draws."""
        return self._random.random() < share

    def times(self, most: int, make: Callable[[], T]) -> list[T]:
        """Up to `most` new ones."""
        return [make() for _ in range(self.upto(most))]


def case(seed: str, number: int) -> Json:
    """A neutral case with twelve requests, or fewer."""
    dice = Dice(f"{seed}/{number}")
    return {
        "name": f"{seed}-{number}",
        "area": "differential",
        "config": {
            "route_config": _route_config(dice),
            "hcm": _hcm(dice),
            "extra_clusters": [*_CLUSTERS, "shadow"],
        },
        "requests": [_request(dice, i) for i in range(1 + dice.upto(11))],
    }


def _hcm(dice: Dice) -> Json:
    found: Json = {}
    for name, share in (
        ("normalize_path", 0.5), ("merge_slashes", 0.4), ("strip_any_host_port", 0.2),
        ("strip_trailing_host_dot", 0.2), ("skip_xff_append", 0.1),
    ):  # fmt: skip
        if dice.chance(share):
            found[name] = True
    if dice.chance(0.5):
        found["use_remote_address"] = dice.chance(0.5)
        found["xff_num_trusted_hops"] = dice.upto(2)
    if dice.chance(0.3):
        found["path_with_escaped_slashes_action"] = dice.one(
            ("KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD")
        )
    if dice.chance(0.2):
        found["via"] = "meshed"
    if dice.chance(0.2):
        found["local_reply_config"] = _local_replies(dice)
    if dice.chance(0.1):
        found["internal_address_config"] = {
            "cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]
        }
    return found


def _local_replies(dice: Dice) -> Json:
    found: Json = {"mappers": dice.times(2, lambda: _mapper(dice))}
    if dice.chance(0.5):
        found["body_format"] = _body_format(dice)
    return found


def _mapper(dice: Dice) -> Json:
    value = {"default_value": dice.one((404, 500, 503)), "runtime_key": "k"}
    comparison = {"op": dice.one(("EQ", "GE", "LE")), "value": value}
    found: Json = {"filter": {"status_code_filter": {"comparison": comparison}}}
    if dice.chance(0.2):
        found["filter"] = {"response_flag_filter": {"flags": ["NR"]}}
    if dice.chance(0.5):
        found["status_code"] = dice.one((299, 418, 503))
    if dice.chance(0.5):
        found["body"] = {"inline_string": dice.one(("mapped", "é"))}
    if dice.chance(0.5):
        found["headers_to_add"] = [_added(dice)]
    if dice.chance(0.4):
        found["body_format_override"] = _body_format(dice)
    return found


def _body_format(dice: Dice) -> Json:
    if dice.chance(0.5):
        members = {"b": "%LOCAL_REPLY_BODY%", "c": "%RESPONSE_CODE%", "p": dice.one(_FORMATS)}
        return {"json_format": members}
    found: Json = {"text_format": f"{dice.one(_FORMATS)}:%LOCAL_REPLY_BODY%"}
    if dice.chance(0.5):
        found["content_type"] = "text/html"
    return found


def _route_config(dice: Dice) -> Json:
    taken = dice.some(_DOMAINS, 8) or ["*"]
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
            {"name": "vc", "headers": [_header(dice) for _ in range(1 + dice.upto(1))]}
        ]
    for name in ("include_request_attempt_count", "include_attempt_count_in_response"):
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
        match = {"prefix": dice.one(_PREFIXES)}
    elif kind == "path":
        match = {"path": _path(dice).split("?")[0].split("#")[0]}
    elif kind == "safe_regex":
        match = {"safe_regex": {"regex": dice.one(_REGEXES)}}
    elif kind == "path_separated_prefix":
        match = {"path_separated_prefix": dice.one([p for p in _PREFIXES if p[-1] != "/"])}
    else:
        match = {
            "path_match_policy": {
                "name": "t",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3"
                    ".UriTemplateMatchConfig",
                    "path_template": dice.one(_TEMPLATES),
                },
            }
        }
    if dice.chance(0.15) and kind in ("prefix", "path"):
        match["case_sensitive"] = False
    if dice.chance(0.3):
        match["headers"] = [_header(dice) for _ in range(1 + dice.upto(1))]
    if dice.chance(0.2):
        match["query_parameters"] = [_query(dice)]
    if dice.chance(0.05):
        match["grpc"] = {}
    if dice.chance(0.1):
        share = {"numerator": dice.one((0, 100)), "denominator": "HUNDRED"}
        match["runtime_fraction"] = {"default_value": share}
    if dice.chance(0.05):
        match["cookies"] = [{"name": "s", "string_match": _string(dice)}]
    return match, kind


def _string(dice: Dice) -> Json:
    kind = dice.one(("exact", "prefix", "suffix", "contains", "safe_regex"))
    value = dice.one(_VALUES)
    if kind == "safe_regex":
        return {"safe_regex": {"regex": dice.one(("[0-9]+", ".*", "a.*", "(1|abc)", "(?i)ABC"))}}
    if kind != "exact" and not value:
        value = "a"
    found: Json = {kind: value}
    if dice.chance(0.3):
        found["ignore_case"] = True
    return found


def _header(dice: Dice) -> Json:
    found: Json = {"name": dice.one(_HEADERS)}
    kind = dice.one(("string", "string", "present", "absent", "range", "old"))
    if kind == "string":
        found["string_match"] = _string(dice)
    elif kind == "present":
        found["present_match"] = True
    elif kind == "absent":
        found["present_match"] = False
    elif kind == "range":
        found["range_match"] = {"start": dice.one((-5, 0, 1)), "end": dice.one((2, 13, 1000))}
    else:
        found[dice.one(("exact_match", "prefix_match", "suffix_match", "contains_match"))] = (
            dice.one([v for v in _VALUES if v])
        )
    if dice.chance(0.25):
        found["invert_match"] = True
    if dice.chance(0.25):
        found["treat_missing_header_as_empty"] = True
    return found


def _query(dice: Dice) -> Json:
    name = dice.one(("q", "a", "empty"))
    if dice.chance(0.4):
        return {"name": name, "present_match": dice.chance(0.8)}
    return {"name": name, "string_match": _string(dice)}


# -- actions -------------------------------------------------------------------------------


def _action(dice: Dice, kind: str) -> Json:
    found: Json = {}
    draw = dice.upto(99)
    if draw < 65:
        found["cluster"] = dice.one(_CLUSTERS)
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


def _weighted(dice: Dice) -> Json:
    """Only one entry can be drawn, or the request says which."""
    if dice.chance(0.5):
        weights = dice.one(((0, 1), (1, 0), (7, 0, 0)))
        found: Json = {}
    else:
        weights = (3, 1)
        found = {"header_name": "x-a"}
    entries: list[Json] = []
    for name, weight in zip(_CLUSTERS, weights, strict=False):
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
            found[f"{side}_headers_to_add"] = [_added(dice) for _ in range(1 + dice.upto(1))]
        if dice.chance(share / 2):
            found[f"{side}_headers_to_remove"] = dice.some(_PORTED, 2)
    return found


def _added(dice: Dice) -> Json:
    found: Json = {"header": {"key": dice.one(_PORTED), "value": dice.one(_FORMATS)}}
    if dice.chance(0.7):
        found["append_action"] = dice.one(_ACTIONS)
    if dice.chance(0.3):
        found["keep_empty_value"] = True
    return found


# -- requests ------------------------------------------------------------------------------


def _path(dice: Dice) -> str:
    if dice.chance(0.4):
        path = dice.one(
            ("/", "/a", "/a/b", "/api/v1", "/api/v1/b", "/A/b", "/a/", "//a//b", "/a/b/c")
        )
    else:
        path = "/" + "/".join(dice.one(_SEGMENTS) for _ in range(dice.upto(3)))
    if dice.chance(0.3):
        path += dice.one(("?", "?q=1", "?a=abc&q=2", "?empty", "?q=%31&q=1", "?a=b?c", "?q=;a=1"))
    if dice.chance(0.03):
        path += "#f"
    return path


def _request(dice: Dice, number: int) -> Json:
    headers = [
        [dice.one(("x-a", "x-b", "x-user", "accept")), dice.one(_VALUES)]
        for _ in range(dice.upto(3))
    ]
    extras = (
        (0.1, ["x-cluster", dice.one(_CLUSTERS)]), (0.2, ["user-agent", "curl/8"]),
        (0.05, ["content-type", "application/grpc"]), (0.1, ["cookie", dice.one(("s=1", "t=2; s=abc"))]),
        (0.1, ["x-forwarded-for", dice.one(("10.0.0.1", "1.2.3.4, 10.0.0.1", "bad"))]),
        (0.05, ["x-forwarded-proto", dice.one(("https", "http"))]),
        (0.05, ["x-envoy-upstream-rq-timeout-ms", "2000"]), (0.03, ["x-envoy-internal", "true"]),
        (0.05, ["via", "1.1 other"]), (0.05, ["x-forwarded-host", "h.test"]),
    )  # fmt: skip
    headers += [pair for share, pair in extras if dice.chance(share)]
    found: Json = {
        "id": str(number),
        "method": dice.one(("GET", "GET", "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE")),
        "authority": dice.one(_AUTHORITIES),
        "path": _path(dice),
        "headers": headers,
    }
    if dice.chance(0.3):
        found["source_ip"] = dice.one(
            ("10.0.0.9", "192.168.1.1", "8.8.8.8", "fd00::1", "2001:db8::1")
        )
    if found["method"] in ("POST", "PUT") and dice.chance(0.7):
        found["body"] = "hello"
    if dice.chance(0.15):
        found["upstream_script"] = [
            {"status": dice.one((200, 204, 404, 503)), "headers": [["x-r", dice.one(_VALUES)]]}
        ]
    return found
