"""envoy.config.rbac.v3: permissions, principals and policies, read into trees."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from meshsdk.config.fields import HONOURED, Field, MessageTable, check, honoured, ignored, refused
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError
from meshsdk.filters import rbac_leaves as leaves
from meshsdk.filters import rbac_peer
from meshsdk.filters.rbac_nodes import Always, And, Node, Not, Or, simplify
from meshsdk.matching.cidr import parse_cidr
from meshsdk.matching.headers import parse_header_matcher
from meshsdk.matching.metadata import parse_metadata_matcher
from meshsdk.matching.path import parse_path_matcher
from meshsdk.matching.strings import parse_string_matcher
from meshsdk.matching.uri_template import parse_uri_template

_TEMPLATE_URL: Final = (
    "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
)
_MTLS_URL: Final = (
    "type.googleapis.com/envoy.extensions.rbac.principals.mtls_authenticated.v3.Config"
)
_CEL: Final = refused("CEL expressions are not evaluated")
_PERMISSIONS: Final = (
    "and_rules",
    "or_rules",
    "any",
    "header",
    "url_path",
    "destination_ip",
    "destination_port",
    "destination_port_range",
    "metadata",
    "not_rule",
    "requested_server_name",
    "uri_template",
    "sourced_metadata",
)
_PRINCIPALS: Final = (
    "and_ids",
    "or_ids",
    "any",
    "authenticated",
    "source_ip",
    "direct_remote_ip",
    "remote_ip",
    "header",
    "url_path",
    "metadata",
    "filter_state",
    "not_id",
    "sourced_metadata",
    "custom",
)


def _table(message: str, *fields: str, **others: Field) -> MessageTable:
    return MessageTable(message, {**honoured(*fields), **others}, security=True)


PERMISSION_TABLE: Final = _table(
    "envoy.config.rbac.v3.Permission",
    *_PERMISSIONS,
    matcher=refused("no permission matcher extension is known"),
)
PRINCIPAL_TABLE: Final = _table("envoy.config.rbac.v3.Principal", *_PRINCIPALS)
POLICY_TABLE: Final = _table(
    "envoy.config.rbac.v3.Policy",
    "permissions",
    "principals",
    condition=_CEL,
    checked_condition=_CEL,
    cel_config=_CEL,
)
RBAC_TABLE: Final = _table(
    "envoy.config.rbac.v3.RBAC",
    "action",
    "policies",
    audit_logging_options=HONOURED,
)
AUDIT_TABLE: Final = _table(
    "envoy.config.rbac.v3.RBAC.AuditLoggingOptions",
    "audit_condition",
    logger_configs=ignored("every audited decision is an event: `Options.emit` is the logger"),
)
_RULE_SET: Final = _table("envoy.config.rbac.v3.Permission.Set", "rules")
_ID_SET: Final = _table("envoy.config.rbac.v3.Principal.Set", "ids")
_AUTHENTICATED: Final = _table("envoy.config.rbac.v3.Principal.Authenticated", "principal_name")
_SOURCED: Final = _table(
    "envoy.config.rbac.v3.SourcedMetadata", "metadata_matcher", "metadata_source"
)
_RANGE: Final = _table("envoy.type.v3.Int32Range", "start", "end")
_STATE: Final = _table(
    "envoy.type.matcher.v3.FilterStateMatcher", "key", "string_match", "address_match"
)
_ADDRESS: Final = _table("envoy.type.matcher.v3.AddressMatcher", "ranges", "invert_match")
_MTLS: Final = _table(
    "envoy.extensions.rbac.principals.mtls_authenticated.v3.Config",
    "san_matcher",
    "any_validated_client_certificate",
)
_SAN: Final = _table(
    "envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher",
    "san_type",
    "matcher",
    oid=refused("other names of certificates are not read"),
)
_EXTENSION: Final = _table("envoy.config.core.v3.TypedExtensionConfig", "name", "typed_config")
TABLES: Final = (
    RBAC_TABLE,
    AUDIT_TABLE,
    POLICY_TABLE,
    PERMISSION_TABLE,
    PRINCIPAL_TABLE,
    _RULE_SET,
    _ID_SET,
    _AUTHENTICATED,
    _SOURCED,
    _RANGE,
    _STATE,
    _ADDRESS,
    _MTLS,
    _SAN,
    _EXTENSION,
)
_SAN_TYPES: Final = {kind: kind for kind in ("EMAIL", "DNS", "URI", "IP_ADDRESS")}


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a rule stands: `widens` inside of a DENY, where matching more is the safe side; `strict`
    where section 12 of the threat model is in force."""

    widens: bool = False
    negated: bool = False
    strict: bool = False
    denies: bool = False

    def inverted(self) -> "Scope":
        """Inside of a negation."""
        return replace(self, negated=not self.negated)

    @property
    def wide(self) -> bool:
        """Whether a stricter reading (threat model, section 12) applies here."""
        return self.widens and not self.negated

    @property
    def splits(self) -> bool:
        """Whether matching more is the safe side: in a DENY, and under a negation in an ALLOW."""
        return self.strict and self.widens is not self.negated


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy: any permission and any principal."""

    name: str
    permission: Node
    principal: Node


def parse_policy(name: str, reader: Reader, scope: Scope) -> Policy:
    """The policy of an envoy.config.rbac.v3.Policy; a CEL condition is refused."""
    check(reader, POLICY_TABLE)
    permissions = reader.messages("permissions", at_least=1)
    principals = reader.messages("principals", at_least=1)
    return Policy(
        name,
        simplify(Or(tuple(parse_permission(item, scope) for item in permissions))),
        simplify(Or(tuple(parse_principal(item, scope) for item in principals))),
    )


_Parse: TypeAlias = Callable[[Reader, Scope], Node]


def parse_permission(reader: Reader, scope: Scope) -> Node:
    """The tree of an envoy.config.rbac.v3.Permission."""
    check(reader, PERMISSION_TABLE)
    kind = reader.required(*_PERMISSIONS)
    match kind:
        case "and_rules":
            return And(_set(reader.required_message(kind), "rules", scope, parse_permission))
        case "or_rules":
            return Or(_set(reader.required_message(kind), "rules", scope, parse_permission))
        case "not_rule":
            return Not(parse_permission(reader.required_message(kind), scope.inverted()))
        case "destination_ip":
            return leaves.destination_ip(parse_cidr(reader.required_message(kind)))
        case "destination_port":
            port = reader.integer(kind, at_least=0, at_most=65535)
            return leaves.destination_port(port, port + 1)
        case "destination_port_range":
            return _port_range(reader.required_message(kind))
        case "requested_server_name":
            return leaves.requested_server_name(parse_string_matcher(reader.required_message(kind)))
        case "uri_template":
            return _uri_template(reader.required_message(kind), scope)
        case _:
            return _shared(reader, kind, scope)


def parse_principal(reader: Reader, scope: Scope) -> Node:
    """The tree of an envoy.config.rbac.v3.Principal."""
    check(reader, PRINCIPAL_TABLE)
    kind = reader.required(*_PRINCIPALS)
    match kind:
        case "and_ids":
            return And(_set(reader.required_message(kind), "ids", scope, parse_principal))
        case "or_ids":
            return Or(_set(reader.required_message(kind), "ids", scope, parse_principal))
        case "not_id":
            return Not(parse_principal(reader.required_message(kind), scope.inverted()))
        case "authenticated":
            return _authenticated(reader.required_message(kind), scope)
        case "source_ip":
            return leaves.source_ip(parse_cidr(reader.required_message(kind)))
        case "direct_remote_ip":
            return leaves.direct_remote_ip(parse_cidr(reader.required_message(kind)))
        case "remote_ip":
            return leaves.remote_ip(parse_cidr(reader.required_message(kind)))
        case "filter_state":
            return _filter_state(reader.required_message(kind))
        case "custom":
            return _custom(reader.required_message(kind))
        case _:
            return _shared(reader, kind, scope)


def _shared(reader: Reader, kind: str, scope: Scope) -> Node:
    """What permissions and principals have in common."""
    match kind:
        case "any":
            if not reader.boolean(kind):
                raise reader.error_at(kind, "expected true, found false")
            return Always()
        case "header":
            matcher = parse_header_matcher(reader.required_message(kind))
            if scope.wide and not matcher.invert and matcher.name in (":authority", "host"):
                return leaves.host(matcher)
            return leaves.header(matcher, splits=scope.splits)
        case "url_path":
            return leaves.url_path(parse_path_matcher(reader.required_message(kind)).path)
        case "metadata":
            found = parse_metadata_matcher(reader.required_message(kind))
            if found.namespace == leaves.ROUTE:
                return leaves.route_template(found, unresolved=scope.denies is not scope.negated)
            return leaves.metadata(found)
        case _:
            return _sourced_metadata(reader.required_message(kind))


def _set(reader: Reader, field: str, scope: Scope, parse: _Parse) -> tuple[Node, ...]:
    check(reader, _RULE_SET if field == "rules" else _ID_SET)
    return tuple(parse(item, scope) for item in reader.messages(field, at_least=1))


def _port_range(reader: Reader) -> Node:
    check(reader, _RANGE)
    begin = reader.integer("start", at_least=0, at_most=65536)
    end = reader.integer("end", at_least=0, at_most=65536)
    if begin >= end:
        raise reader.error_at("start", f"expected less than end {end}, found {begin}")
    return leaves.destination_port(begin, end)


def _extension(reader: Reader, *type_urls: str) -> Reader:
    """The typed config of an extension of one of these types."""
    check(reader, _EXTENSION)
    config = reader.typed("typed_config")
    if config is None:
        raise reader.error_at("typed_config", "expected a typed message, found none")
    if config.type_url not in type_urls:
        raise UnknownExtensionError(
            config.path, f"no RBAC extension takes {config.type_url}", config.type_url
        )
    return config


def _uri_template(reader: Reader, scope: Scope) -> Node:
    template = parse_uri_template(_extension(reader, _TEMPLATE_URL))
    return leaves.uri_template(template, any_octet=scope.wide)


def _authenticated(reader: Reader, scope: Scope) -> Node:
    check(reader, _AUTHENTICATED)
    name = reader.message("principal_name")
    matcher = None if name is None else parse_string_matcher(name)
    return rbac_peer.authenticated(matcher, strict=scope.strict)


def _sourced_metadata(reader: Reader) -> Node:
    check(reader, _SOURCED)
    matcher = parse_metadata_matcher(reader.required_message("metadata_matcher"))
    sources = {"DYNAMIC": leaves.metadata, "ROUTE": leaves.route_metadata}
    return reader.enum("metadata_source", sources, "DYNAMIC")(matcher)


def _filter_state(reader: Reader) -> Node:
    check(reader, _STATE)
    key = reader.required_string("key")
    if reader.required("string_match", "address_match") == "string_match":
        return leaves.filter_state(
            key, parse_string_matcher(reader.required_message("string_match"))
        )
    address = reader.required_message("address_match")
    check(address, _ADDRESS)
    ranges = address.each("ranges", parse_cidr)
    return leaves.filter_state_address(key, ranges, address.boolean("invert_match"))


def _custom(reader: Reader) -> Node:
    config = _extension(reader, _MTLS_URL)
    check(config, _MTLS)
    san = config.message("san_matcher")
    if san is None:
        if config.message("any_validated_client_certificate") is None:
            raise config.error("san_matcher or any_validated_client_certificate is required")
        return rbac_peer.authenticated(None, strict=True)
    check(san, _SAN)
    kind = san.enum("san_type", _SAN_TYPES, "SAN_TYPE_UNSPECIFIED")
    return rbac_peer.subject_alt_name(kind, parse_string_matcher(san.required_message("matcher")))
