"""Findings about RBAC in Envoy configuration: a bootstrap, or what `/config_dump` gives."""

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias, cast

from meshsdk.cli.authz.lint import Finding

Json: TypeAlias = Mapping[str, object]
_HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_RBAC: Final = "envoy.extensions.filters.http.rbac.v3.RBAC"
_KINDS: Final = ("exact", "prefix")


def lint_envoy(config: object, where: str) -> list[Finding]:
    """Every connection manager in it, wherever it stands; camelCase or snake_case."""
    found: list[Finding] = []
    for path, chain in _chains(config, where):
        is_plain = not _get(chain, "transport_socket")
        for at, manager in _typed(chain, path, _HCM):
            for place, rules in _rules(manager, at):
                found.extend(_lint_rules(rules, manager, place, is_plain=is_plain))
    return found


def _chains(node: object, path: str) -> Iterator[tuple[str, Json]]:
    """Filter chains; a neutral config is one chain."""
    if isinstance(node, Mapping):
        data = cast("Json", node)
        if "filters" in data and isinstance(data["filters"], list):
            yield path, data
            return
        if "http_filters" in data and "@type" not in data:
            hcm = cast("Json", data.get("hcm") or {})
            manager = {"@type": _HCM, **hcm, "http_filters": data["http_filters"]}
            yield path, {"filters": [manager], "transport_socket": "unknown"}
            return
        for key, value in data.items():
            yield from _chains(value, f"{path}.{key}")
    elif isinstance(node, list):
        for i, value in enumerate(cast("list[object]", node)):
            yield from _chains(value, f"{path}[{i}]")


def _typed(node: object, path: str, message: str) -> Iterator[tuple[str, Json]]:
    if isinstance(node, Mapping):
        data = cast("Json", node)
        if str(data.get("@type", "")).endswith(message):
            yield path, data
            return
        for key, value in data.items():
            yield from _typed(value, f"{path}.{key}", message)
    elif isinstance(node, list):
        for i, value in enumerate(cast("list[object]", node)):
            yield from _typed(value, f"{path}[{i}]", message)


def _rules(manager: Json, path: str) -> Iterator[tuple[str, Json]]:
    """Enforced rules, of filters and of routes."""
    for at, rbac in _typed(dict(manager, **{"@type": ""}), path, _RBAC):
        rules = _get(rbac, "rules")
        if isinstance(rules, Mapping):
            yield f"{at}.rules", cast("Json", rules)


def _lint_rules(rules: Json, manager: Json, where: str, *, is_plain: bool) -> Iterator[Finding]:
    action = str(rules.get("action", "ALLOW"))
    merges = bool(_get(manager, "merge_slashes"))
    policies = rules.get("policies")
    for name, policy in cast("Mapping[str, object]", policies or {}).items():
        place = f"{where}.policies[{name}]"
        for kind, value in _paths(policy):
            if "?" in value or "#" in value:
                yield Finding("path-with-query", place, f"the path {value} matches nothing")
            if action == "DENY" and kind in _KINDS and not merges:
                text = f"DENY of {value} does not deny /{value}: merge_slashes is off"
                yield Finding("deny-path-slashes", place, text)
        if is_plain and _asks_for_identity(policy):
            effect = {"DENY": "denies nothing", "ALLOW": "allows nobody"}.get(action)
            if effect:
                told = f"a chain without TLS: {action} by principal {effect}"
                yield Finding("permissive-identity", place, told)


def _paths(node: object) -> Iterator[tuple[str, str]]:
    """Every string of a url_path."""
    if isinstance(node, Mapping):
        data = cast("Json", node)
        path = _get(data, "url_path")
        if isinstance(path, Mapping):
            matcher = cast("Json", path).get("path")
            if isinstance(matcher, Mapping):
                for kind, value in cast("Json", matcher).items():
                    if isinstance(value, str):
                        yield kind, value
        for value in data.values():
            yield from _paths(value)
    elif isinstance(node, list):
        for value in cast("list[object]", node):
            yield from _paths(value)


def _asks_for_identity(node: object) -> bool:
    if isinstance(node, Mapping):
        data = cast("Json", node)
        if _get(data, "not_id") is not None:
            return False
        return "authenticated" in data or any(map(_asks_for_identity, data.values()))
    return isinstance(node, list) and any(map(_asks_for_identity, cast("list[object]", node)))


def _get(data: Json, name: str) -> object:
    """A field by either of its spellings."""
    if name in data:
        return data[name]
    first, *rest = name.split("_")
    return data.get(first + "".join(word.capitalize() for word in rest))
