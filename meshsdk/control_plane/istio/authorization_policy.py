"""AuthorizationPolicy: who may do what. FEED.md 3.9; validation as istiod's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from meshsdk.control_plane.istio import policy_values as values_of
from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.selectors import TARGET_REFS, parse_selector
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

Action: TypeAlias = Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"]

DRY_RUN: Final = "istio.io/dry-run"
# Field of `source` to the condition that says the same; in the order in which istiod writes them.
_SOURCE: Final = {
    "principals": "source.principal",
    "requestPrincipals": "request.auth.principal",
    "serviceAccounts": "source.serviceAccount",
    "namespaces": "source.namespace",
    "trustDomains": "source.trustDomain",
    "remoteIpBlocks": "remote.ip",
    "ipBlocks": "source.ip",
}
# The attributes of `operation` that no condition has are ours: they have no dot.
_OPERATION: Final = {
    "hosts": "hosts",
    "methods": "methods",
    "paths": "paths",
    "ports": "destination.port",
}
HTTP_ATTRIBUTES: Final = frozenset(
    {
        "hosts", "methods", "paths", "request.auth.principal", "request.auth.audiences",
        "request.auth.presenter", "request.auth.claims", "request.headers",
    }
)  # fmt: skip
_WITH_NAME: Final = ("request.headers", "request.auth.claims", "experimental.envoy.filters.")
_CONDITIONS: Final = (
    "source.ip", "remote.ip", "source.namespace", "source.principal", "source.serviceAccount",
    "request.auth.principal", "request.auth.audiences", "request.auth.presenter",
    "destination.ip", "destination.port", "connection.sni",
)  # fmt: skip
_NOT_WITH_CUSTOM: Final = ("source.namespace", "source.serviceAccount", "source.principal")
_BRACKETS: Final = re.compile(r"(\[[^\[\]]+\])+\Z")
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})  # Go's strconv.ParseBool
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})

_SPEC: Final = fields("selector", "action", "provider", "rules", refused=TARGET_REFS)
_PROVIDER: Final = fields("name")
_RULE: Final = fields("from", "to", "when")
_FROM: Final = fields("source")
_TO: Final = fields("operation")
_CONDITION: Final = fields("key", "values", "notValues")


def _negated(name: str) -> str:
    return f"not{name[0].upper()}{name[1:]}"


_SOURCE_FIELDS: Final = fields(*_SOURCE, *map(_negated, _SOURCE))
_OPERATION_FIELDS: Final = fields(*_OPERATION, *map(_negated, _OPERATION))


@dataclass(frozen=True, slots=True)
class Match:
    """What one attribute must be (any of `values`) and must not be (none of `not_values`)."""

    attribute: str
    """As a condition's key spells it, or `hosts`, `methods`, `paths`; without `[name]`."""
    names: tuple[str, ...]
    """What stood in brackets: a header, a path of claims, a metadata key."""
    values: tuple[str, ...]
    not_values: tuple[str, ...]

    @property
    def is_http(self) -> bool:
        """Whether connections that are not HTTP do not have it."""
        return self.attribute in HTTP_ATTRIBUTES

    @property
    def is_filled_header(self) -> bool:
        """`notValues: [""]` of a header: it must be there and must not be empty."""
        return self.attribute == "request.headers" and self.not_values == ("",)


@dataclass(frozen=True, slots=True)
class Rule:
    """Any of the sources, any of the operations, and all conditions; none of a kind is any."""

    sources: tuple[tuple[Match, ...], ...]
    operations: tuple[tuple[Match, ...], ...]
    conditions: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class AuthorizationPolicy:
    """A policy. Without rules it matches nothing: with ALLOW, everyone is denied."""

    metadata: Metadata
    action: Action = "ALLOW"
    rules: tuple[Rule, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    provider: str = ""
    """Of CUSTOM: the name of an extension provider."""
    is_dry_run: bool = False


def parse_authorization_policy(document: Document) -> AuthorizationPolicy:
    """The policy, or why istiod would refuse it."""
    spec = document.spec(_SPEC)
    actions: dict[str, Action] = {
        "ALLOW": "ALLOW", "DENY": "DENY", "AUDIT": "AUDIT", "CUSTOM": "CUSTOM",
    }  # fmt: skip
    action = spec.enum("action", actions, "ALLOW")
    if action in ("DENY", "CUSTOM") and not spec.has("rules"):
        problem = f"{action} without rules is never triggered; the rule {{}} is for every request"
        raise spec.error(problem)
    rules = spec.each("rules", _RULE, lambda reader: _rule(reader, action))
    return AuthorizationPolicy(
        document.metadata,
        action,
        rules,
        parse_selector(spec),
        _provider(spec, action),
        _is_dry_run(document, action),
    )


def _provider(spec: SpecReader, action: Action) -> str:
    provider = spec.message("provider", _PROVIDER)
    if action != "CUSTOM":
        if provider is not None:
            raise spec.error_at("provider", f"is for action CUSTOM, found {action}")
        return ""
    if provider is None:
        raise spec.error("expected provider, found none: CUSTOM asks an extension provider")
    return provider.required_string("name")


def _is_dry_run(document: Document, action: Action) -> bool:
    text = document.metadata.annotations.get(DRY_RUN)
    if text is None:
        return False
    metadata = document.root.required_message("metadata", None)
    annotations = metadata.required_message("annotations", None)
    if action not in ("ALLOW", "DENY"):
        raise annotations.error_at(DRY_RUN, f"is for actions ALLOW and DENY, found {action}")
    if text not in _TRUE | _FALSE:
        raise annotations.error_at(DRY_RUN, f"expected true or false, found {text!r}")
    return text in _TRUE


def _rule(reader: SpecReader, action: Action) -> Rule:
    for name in ("from", "to"):
        if reader.has(name) and not reader.items(name):
            raise reader.error_at(name, "must not be empty")
    sources = reader.each("from", _FROM, lambda each: _source(each, action))
    operations = reader.each("to", _TO, _operation)
    conditions = reader.each("when", _CONDITION, lambda each: _condition(each, action))
    _warn_of_tcp(reader, action, sources, operations)
    return Rule(sources, operations, conditions)


def _source(reader: SpecReader, action: Action) -> tuple[Match, ...]:
    source = reader.required_message("source", _SOURCE_FIELDS)
    if not any(source.items(name) for name in source.names()):
        raise source.error("must not be empty")
    found: list[Match] = []
    for name, attribute in _SOURCE.items():
        values = values_of.checked(source, name, attribute)
        not_values = values_of.checked(source, _negated(name), attribute)
        if not values and not not_values:
            continue
        if action == "CUSTOM" and (
            attribute in _NOT_WITH_CUSTOM or attribute.startswith("request.auth.")
        ):
            raise source.error(f"{name} is not supported with action CUSTOM")
        found.append(Match(attribute, (), values, not_values))
    attributes = {match.attribute for match in found}
    if "source.serviceAccount" in attributes and attributes & {
        "source.principal",
        "source.namespace",
    }:
        raise source.error("serviceAccounts do not go with namespaces or principals")
    return tuple(found)


def _operation(reader: SpecReader) -> tuple[Match, ...]:
    operation = reader.required_message("operation", _OPERATION_FIELDS)
    found: list[Match] = []
    for name, attribute in _OPERATION.items():
        values = values_of.checked(operation, name, attribute)
        not_values = values_of.checked(operation, _negated(name), attribute)
        if values or not_values:
            found.append(Match(attribute, (), values, not_values))
    if not found:
        raise operation.error("must not be empty")
    return tuple(found)


def _condition(reader: SpecReader, action: Action) -> Match:
    key = reader.required_string("key")
    attribute, names = _attribute(reader, key)
    if not reader.items("values") and not reader.items("notValues"):
        raise reader.error(f"expected values or notValues for {key}")
    if action == "CUSTOM" and (key in _NOT_WITH_CUSTOM or key.startswith("request.auth.")):
        raise reader.error_at("key", f"{key} is not supported with action CUSTOM")
    values = values_of.checked(reader, "values", attribute)
    if (
        attribute == "request.headers"
        and reader.strings("notValues") == ("",)
        and action == "ALLOW"
    ):
        text = (
            f'istiod refuses notValues: [""]; taken as "{key} is there and not empty". '
            'istiod takes values: ["*"], which an empty header passes'
        )
        reader.note_at("notValues", text)
        return Match(attribute, names, values, ("",))
    not_values = values_of.checked(reader, "notValues", attribute)
    return Match(attribute, names, values, not_values)


def _attribute(reader: SpecReader, key: str) -> tuple[str, tuple[str, ...]]:
    """A condition's attribute and what stands in its brackets."""
    if key in _CONDITIONS:
        return key, ()
    for prefix in _WITH_NAME:
        if key.startswith(prefix):
            attribute, bracket, rest = key.partition("[")
            rest = bracket + rest
            is_exact = attribute == prefix or (
                prefix.endswith(".") and len(attribute) > len(prefix)
            )
            if not is_exact or not _BRACKETS.match(rest):
                raise reader.error_at("key", f"expected {prefix}[name], found {key}")
            names = tuple(rest[1:-1].split("]["))
            if len(names) > 1 and prefix != "request.auth.claims":
                raise reader.error_at("key", f"expected one name in brackets, found {key}")
            return attribute, names
    raise reader.error_at("key", f"unknown attribute {key}{values_of.hint(key, _CONDITIONS)}")


def _warn_of_tcp(
    reader: SpecReader,
    action: Action,
    sources: tuple[tuple[Match, ...], ...],
    operations: tuple[tuple[Match, ...], ...],
) -> None:
    """A DENY rule of HTTP attributes alone denies all else too, as it loses them on TCP ports."""
    has_tcp_source = any(not match.is_http for source in sources for match in source)
    has_tcp_operation = any(not match.is_http for operation in operations for match in operation)
    is_wide = not has_tcp_operation if operations else bool(sources) and not has_tcp_source
    if action == "DENY" and is_wide:
        name = "to" if operations else "from"
        text = "denies everything on TCP ports, which have no HTTP attributes; better add ports"
        reader.note_at(name, text)


KIND: Final = Kind(
    "security.istio.io", "AuthorizationPolicy", ("v1", "v1beta1"), parse_authorization_policy
)
