"""How much of a recorded state another state says: every leaf of either counts once."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

Class: TypeAlias = Literal["security", "traffic", "other"]
State: TypeAlias = Mapping[str, Mapping[str, Mapping[str, object]]]

_COMPARED: Final = ("LDS", "RDS", "CDS", "EDS")
_SECURITY: Final = re.compile(
    r"/(transport_socket|transport_socket_matches|filter_chain_match|forward_client_cert_details"
    r"|set_current_client_cert_details|normalize_path|merge_slashes|use_remote_address"
    r"|path_with_escaped_slashes_action|envoy\.transport_socket_match)(/|$)"
    r"|rbac|jwt_authn|ext_authz"
)
_OTHER: Final = re.compile(
    r"/(stat_prefix|alt_stat_name|access_log|tracing|decorator|request_id_extension|server_name"
    r"|traffic_direction|istio|listener_filters|listener_filters_timeout|sds_config"
    r"|continue_on_listener_filters_timeout|initial_fetch_timeout|resource_api_version"
    r"|generate_request_id|max_direct_response_body_size_bytes|validate_clusters"
    r"|proxy_100_continue)(/|$)"
)
_SETS: Final = frozenset(
    {
        "domains", "match_subject_alt_names", "rules", "ids", "permissions", "principals",
        "audiences", "prefix_ranges", "server_names", "application_protocols",
        "allow_origin_string_match", "retriable_status_codes",
    }
)  # fmt: skip
_NAMED: Final = frozenset(
    {"virtual_hosts", "clusters", "transport_socket_matches", "listener_filters"}
)
_TELEMETRY: Final = (
    "istio.metadata_exchange", "istio.stats", "istio.alpn", "envoy.filters.http.grpc_stats",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """Equal and all leaves of each class, and where they differ (but for `other`)."""

    equal: Mapping[str, int]
    every: Mapping[str, int]
    different: tuple[str, ...]

    def share(self, of: Class) -> float:
        """Percent that are equal."""
        return 100.0 * self.equal.get(of, 0) / self.every[of] if self.every.get(of) else 100.0


def compare(recorded: State, ours: State) -> Comparison:
    """Two states. Allocated addresses are compared by the host that has them."""
    left, right = (dict(_leaves_of(_by_host(state))) for state in (recorded, ours))
    equal: Counter[str] = Counter()
    every: Counter[str] = Counter()
    different: list[str] = []
    for path in sorted(left.keys() | right.keys()):
        kind = _class_of(path)
        every[kind] += 1
        if path in left and path in right and left[path] == right[path]:
            equal[kind] += 1
        elif kind != "other":
            different.append(f"{path}: {left.get(path)!r} is {right.get(path)!r}")
    return Comparison(equal, every, tuple(different))


def _class_of(path: str) -> Class:
    if _OTHER.search(path):
        return "other"
    return "security" if _SECURITY.search(path) else "traffic"


def _by_host(state: State) -> State:
    table = state.get("NDS", {}).get("", {}).get("table", {})
    text = json.dumps({kind: state.get(kind, {}) for kind in _COMPARED})
    assert isinstance(table, Mapping)
    for host, entry in sorted(cast("Mapping[str, Mapping[str, list[str]]]", table).items()):
        for ip in entry["ips"]:
            if ip.startswith("240.240."):
                text = re.sub(rf"(?<![0-9.]){re.escape(ip)}(?![0-9])", f"vip({host})", text)
    return cast("State", json.loads(text))


def _leaves_of(state: State) -> Iterator[tuple[str, object]]:
    for kind in _COMPARED:
        for name, resource in state.get(kind, {}).items():
            yield from _leaves(resource, f"{kind}/{name}", "")


def _leaves(value: object, path: str, field: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        if not fields:
            yield f"{path}/{{}}", True
        for name, inner in fields.items():
            yield from _leaves(inner, f"{path}/{name}", name)
    elif isinstance(value, list):
        yield from _items(cast("list[object]", value), path, field)
    else:
        yield path, _scalar(value)


def _items(items: list[object], path: str, field: str) -> Iterator[tuple[str, object]]:
    if field in _SETS:
        items = sorted(items, key=_text)
    seen: Counter[str] = Counter()
    for i, item in enumerate(items):
        if field in ("http_filters", "filters") and _get(item, "name") in _TELEMETRY:
            continue
        key = _key(field, item, i)
        seen[key] += 1
        yield from _leaves(item, f"{path}/{key}#{seen[key]}", "")


def _key(field: str, item: object, i: int) -> str:
    match field:
        case "filter_chains":
            return _text(_get(item, "filter_chain_match"))
        case "http_filters" | "filters":
            return _text(_get(_get(item, "typed_config"), "@type"))
        case "endpoints":
            return _text([_get(item, "locality"), _get(item, "priority")])
        case "lb_endpoints":
            return _text(_get(_get(item, "endpoint"), "address"))
        case _ if field in _NAMED:
            return _text(_get(item, "name"))
        case _:
            return f"[{i}]"


def _get(item: object, name: str) -> object:
    return cast("dict[str, object]", item).get(name) if isinstance(item, dict) else None


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _scalar(value: object) -> object:
    """Numbers as numbers: an int64 is a text in proto-JSON."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        return int(value)
    return value
