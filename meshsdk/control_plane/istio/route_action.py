"""What a rule does, as Envoy's RouteAction and per-filter configs. Source: istiod, route.go."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias, cast

from meshsdk.control_plane.istio.envoy_json import seconds_text
from meshsdk.control_plane.istio.http_actions import (
    Cors,
    Destination,
    DirectResponse,
    HeaderOperations,
    Operations,
    Redirect,
    Retries,
)
from meshsdk.control_plane.istio.http_fault import Fault, Mirror, Share
from meshsdk.control_plane.istio.http_rule import HttpRule, RouteDestination
from meshsdk.control_plane.shapes.routes import DEFAULT_RETRY_ON, PREVIOUS_HOSTS
from meshsdk.control_plane.shapes.tls import Json

ClusterOf: TypeAlias = Callable[[Destination], str]
HashOf: TypeAlias = Callable[[Destination], Json | None]
"""The hash policy that a DestinationRule wants for a destination."""

_FILTERS: Final = "type.googleapis.com/envoy.extensions.filters.http"
_AUTHORITY: Final = (":authority", "host")
_CODES: Final = {
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


def action_of(
    rule: HttpRule, cluster_of: ClusterOf, hash_of: HashOf, default_retries: Retries | None
) -> tuple[Json, Json]:
    """The RouteAction, and the fields that the route itself has from its only destination."""
    # Of several destinations another host is not wrong for certain: as istiod.
    has_hash = len(rule.routes) == 1 and hash_of(rule.routes[0].destination) is not None
    timeout = seconds_text(rule.timeout or 0.0)
    action: Json = {"timeout": timeout, "max_grpc_timeout": timeout}
    policy = retry_policy(rule.retries or default_retries, has_hash=has_hash)
    if policy is not None:
        action["retry_policy"] = policy
    if rule.is_gateway_api:
        action["cluster_not_found_response_code"] = "INTERNAL_SERVER_ERROR"
    action |= _rewrite(rule)
    if rule.mirrors:
        action["request_mirror_policies"] = [
            _mirror(mirror, cluster_of(mirror.destination)) for mirror in rule.mirrors
        ]
    beside: Json = {}
    if len(rule.routes) == 1:
        only = rule.routes[0]
        action["cluster"] = cluster_of(only.destination)
        action |= _host_rewrite(only.headers.request) if not _is_rewritten(action) else {}
        beside = header_fields(only.headers)
    else:
        chosen = [each for each in rule.routes if each.weight]
        clusters = [_weighted(each, cluster_of(each.destination)) for each in chosen]
        action["weighted_clusters"] = {"clusters": clusters}
    used = [each for each in rule.routes if each.weight or len(rule.routes) == 1]
    hashes = [found for each in used if (found := hash_of(each.destination)) is not None]
    if hashes:
        action["hash_policy"] = hashes
    return action, beside


def retry_policy(retries: Retries | None, *, has_hash: bool = False) -> Json | None:
    """None is without retries. `has_hash`: another host would be the wrong one."""
    policy: Json = {
        "host_selection_retry_max_attempts": "5",
        "num_retries": 2,
        "retry_host_predicate": [PREVIOUS_HOSTS],
        "retry_on": DEFAULT_RETRY_ON,
    }
    if has_hash:
        del policy["retry_host_predicate"]
    if retries is None:
        return policy
    if retries.attempts <= 0:
        return None
    policy["num_retries"] = retries.attempts
    if retries.retry_on:
        policy |= _retry_on(retries.retry_on)
    if retries.per_try_timeout is not None:
        policy["per_try_timeout"] = seconds_text(retries.per_try_timeout)
    if retries.is_remote:
        policy["retry_priority"] = {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.priority."
                "previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 2,
            },
        }
    if retries.ignores_previous_hosts is False:
        policy.pop("retry_host_predicate", None)
    if retries.backoff is not None:
        policy["retry_back_off"] = {"base_interval": seconds_text(retries.backoff)}
    return policy


def _retry_on(text: str) -> Json:
    words = [word.strip() for word in text.split(",") if word.strip()]
    codes = [int(word) for word in words if word.isdecimal()]
    names = [word for word in words if not word.isdecimal()]
    if codes and "retriable-status-codes" not in names:
        names.append("retriable-status-codes")
    found: Json = {"retry_on": ",".join(names)}
    return {**found, "retriable_status_codes": codes} if codes else found


def _rewrite(rule: HttpRule) -> Json:
    found: Json = {}
    if rule.rewrite is not None and rule.rewrite.regex is not None:
        pattern, substitution = rule.rewrite.regex
        found["regex_rewrite"] = {"pattern": {"regex": pattern}, "substitution": substitution}
    elif rule.rewrite is not None and rule.rewrite.uri:
        found["prefix_rewrite"] = rule.rewrite.uri
    if rule.rewrite is not None and rule.rewrite.authority:
        found["host_rewrite_literal"] = rule.rewrite.authority
    elif rule.headers is not None:
        found |= _host_rewrite(rule.headers.request)
    return found


def _is_rewritten(action: Json) -> bool:
    return "host_rewrite_literal" in action


def _host_rewrite(operations: Operations) -> Json:
    """A header operation on the authority is a rewrite."""
    for values in (operations.set, operations.add):
        for name, value in sorted(values.items()):
            if name.lower() in _AUTHORITY:
                return {"host_rewrite_literal": value}
    return {}


def _weighted(route: RouteDestination, cluster: str) -> Json:
    found: Json = {"name": cluster, "weight": route.weight}
    return found | header_fields(route.headers) | _host_rewrite(route.headers.request)


def header_fields(headers: HeaderOperations | None) -> Json:
    """The four fields of a route, or of a weighted cluster."""
    found: Json = {}
    for side in ("request", "response") if headers is not None else ():
        operations: Operations = getattr(headers, side)
        added = [*_options(operations.set, overwrites=True)]
        added += _options(operations.add, overwrites=False)
        removed = [name for name in operations.remove if not _is_internal(name)]
        found |= {f"{side}_headers_to_add": added} if added else {}
        found |= {f"{side}_headers_to_remove": removed} if removed else {}
    return found


def merged_header_fields(first: Json, second: Json) -> Json:
    """A rule's, then its only destination's."""
    merged = dict(first)
    for name, values in second.items():
        merged[name] = [*_items(merged.get(name, [])), *_items(values)]
    return merged


def _items(value: object) -> list[object]:
    assert isinstance(value, list)
    return cast("list[object]", value)


def _options(values: Mapping[str, str], *, overwrites: bool) -> Iterable[Json]:
    for name, value in sorted(values.items()):
        if _is_internal(name):
            continue
        option: Json = {"header": {"key": name, "value": value}}
        if overwrites:
            option["append_action"] = "OVERWRITE_IF_EXISTS_OR_ADD"
        yield option


def _is_internal(name: str) -> bool:
    return name.startswith(":") or name.lower() == "host"


def _mirror(mirror: Mirror, cluster: str) -> Json:
    return {
        "cluster": cluster,
        "disable_shadow_host_suffix_append": True,
        "runtime_fraction": {"default_value": share_json(mirror.share)},
        "trace_sampled": False,
    }


def share_json(share: Share) -> Json:
    """A FractionalPercent; the defaults of proto3 are left out."""
    found: Json = {"numerator": share.numerator} if share.numerator else {}
    return {**found, "denominator": "MILLION"} if share.is_million else found


def redirect_json(redirect: Redirect, port: int, *, is_tls: bool = False) -> Json:
    """A RedirectAction; `is_tls`: of requests that came by TLS. Source: istiod, ApplyRedirect."""
    found: Json = {"path_redirect": redirect.uri}
    if redirect.prefix is not None:
        found = {"prefix_rewrite": redirect.prefix}
    if redirect.authority:
        found["host_redirect"] = redirect.authority
    if redirect.scheme:
        found["scheme_redirect"] = redirect.scheme
    target = port if redirect.is_from_request_port else redirect.port
    usual = {"http": 80, "https": 443}[redirect.scheme or ("https" if is_tls else "http")]
    if target and target != usual:
        found["port_redirect"] = target
    if redirect.code in _CODES:
        found["response_code"] = _CODES[redirect.code]
    return found


def direct_response_json(response: DirectResponse) -> Json:
    """A DirectResponseAction."""
    found: Json = {"status": response.status}
    if response.text is not None:
        found["body"] = {"inline_string": response.text}
    if response.octets is not None:
        found["body"] = {"inline_bytes": response.octets}
    return found


def per_filter_config(fault: Fault | None, cors: Cors | None) -> Json:
    """What the filters of these names do on this route."""
    found: Json = {}
    if fault is not None:
        found["envoy.filters.http.fault"] = _fault(fault)
    if cors is not None:
        found["envoy.filters.http.cors"] = _cors(cors)
    return found


def _fault(fault: Fault) -> Json:
    found: Json = {"@type": f"{_FILTERS}.fault.v3.HTTPFault"}
    if fault.delay is not None:
        found["delay"] = {
            "fixed_delay": seconds_text(fault.delay.seconds),
            "percentage": share_json(fault.delay.share),
        }
    abort = fault.abort
    if abort is not None:
        status = {"http_status": abort.http_status, "grpc_status": abort.grpc_status}
        share = {} if abort.share is None else {"percentage": share_json(abort.share)}
        found["abort"] = {**{k: v for k, v in status.items() if v is not None}, **share}
    return found


def _cors(cors: Cors) -> Json:
    found: Json = {
        "@type": f"{_FILTERS}.cors.v3.CorsPolicy",
        "filter_enabled": {"default_value": {"numerator": 100}},
        "forward_not_matching_preflights": cors.forwards_unmatched,
    }
    if cors.origins:
        found["allow_origin_string_match"] = [
            origin.envoy() for origin in cors.origins if origin.how != "present"
        ]
    for name, values in (
        ("allow_methods", cors.methods),
        ("allow_headers", cors.headers),
        ("expose_headers", cors.expose_headers),
    ):
        if values:
            found[name] = ",".join(values)
    if cors.credentials is not None:
        found["allow_credentials"] = cors.credentials
    if cors.max_age is not None:
        found["max_age"] = str(int(cors.max_age))
    return found
