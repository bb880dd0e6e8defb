"""The actions of a RateLimit: where each entry of a descriptor comes from.

Source: envoy.config.route.v3.RateLimit.Action; Envoy, router_ratelimit.cc.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, TypeAlias, cast

from meshsdk.call.context import CallContext
from meshsdk.call.message import Request
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, not_built
from meshsdk.config.reader import Reader
from meshsdk.matching.cidr import parse_cidr, parse_ip
from meshsdk.matching.headers import parse_header_matcher
from meshsdk.matching.octets import lower, octets
from meshsdk.matching.query import parse_query_parameter_matcher, query_parameters
from meshsdk.resources.format_values import Values
from meshsdk.resources.substitution_format import parse_format

Entry: TypeAlias = tuple[str, str]
Action: TypeAlias = Callable[[Request, CallContext], tuple[Entry, ...] | None]
"""The entries of one action; None: the call has no such descriptor."""

_PREFIX: Final = "envoy.config.route.v3.RateLimit.Action."
_HONOURED: Final = {
    "RequestHeaders": "header_name descriptor_key skip_if_absent",
    "QueryParameters": "query_parameter_name descriptor_key skip_if_absent",
    "GenericKey": "descriptor_value default_value descriptor_key",
    "HeaderValueMatch": "descriptor_value default_value descriptor_key expect_match headers",
    "DynamicMetaData": "descriptor_key metadata_key default_value",
    "MetaData": "descriptor_key metadata_key default_value source skip_if_absent",
    "MaskedRemoteAddress": "v4_prefix_mask_len v6_prefix_mask_len",
    "QueryParameterValueMatch": (
        "descriptor_value default_value descriptor_key expect_match query_parameters"
    ),
    "RemoteAddressMatch": "descriptor_value default_value descriptor_key address_matcher",
}
_OF_ACTION: Final = {
    name: MessageTable(_PREFIX + name, honoured(*fields.split()))
    for name, fields in _HONOURED.items()
}
_KINDS: Final = (
    "destination_cluster",
    "request_headers",
    "query_parameters",
    "remote_address",
    "generic_key",
    "header_value_match",
    "dynamic_metadata",
    "metadata",
    "masked_remote_address",
    "query_parameter_value_match",
    "remote_address_match",
)
TABLE: Final = MessageTable(
    "envoy.config.route.v3.RateLimit.Action",
    {
        **honoured(*_KINDS, "source_cluster"),
        "extension": not_built("descriptors by an extension"),
    },
)
METADATA_KEY: Final = MessageTable("envoy.type.metadata.v3.MetadataKey", honoured("key", "path"))
SEGMENT: Final = MessageTable("envoy.type.metadata.v3.MetadataKey.PathSegment", honoured("key"))
ADDRESS_MATCHER: Final = MessageTable(
    "envoy.type.matcher.v3.AddressMatcher",
    {**honoured("ranges"), "invert_match": not_built("an inverted match of addresses")},
)
TABLES: Final = (TABLE, METADATA_KEY, SEGMENT, ADDRESS_MATCHER, *_OF_ACTION.values())
_FORMATS: Final = "envoy.reloadable_features.enable_formatter_for_ratelimit_action_descriptor_value"
"""Runtime key: off by default, descriptor_value is a plain text (observed)."""
_SOURCES: Final = {"DYNAMIC": True, "ROUTE_ENTRY": False}


@dataclass(frozen=True, slots=True)
class Parsed:
    """An action, or what it would need."""

    action: Action | None
    not_built: tuple[str, ...] = ()


def parse_action(reader: Reader, extensions: Extensions) -> Parsed:
    """One RateLimit.Action."""
    missing = check(reader, TABLE)
    kind = reader.required(*_KINDS, "source_cluster", "extension")
    if kind == "extension":
        return Parsed(None, missing)
    if kind == "source_cluster":
        entry = ("source_cluster", octets(extensions.service_cluster))
        return Parsed(lambda request, context: (entry,))
    formats = (extensions.runtime or {}).get(_FORMATS) is True
    return _PARSERS[kind](reader.required_message(kind), formats)


def _destination_cluster(_: Reader, __: bool) -> Parsed:
    return Parsed(lambda request, context: (("destination_cluster", context.cluster),))


def _request_headers(reader: Reader, _: bool) -> Parsed:
    missing = check(reader, _OF_ACTION["RequestHeaders"])
    name = lower(octets(reader.required_string("header_name")))
    key = octets(reader.required_string("descriptor_key"))
    absent = () if reader.boolean("skip_if_absent") else None

    def find(request: Request, context: CallContext) -> tuple[Entry, ...] | None:
        del context
        found = request.field(name)
        return ((key, found[0]),) if found else absent

    return Parsed(find, missing)


def _query_parameters(reader: Reader, _: bool) -> Parsed:
    missing = check(reader, _OF_ACTION["QueryParameters"])
    name = octets(reader.required_string("query_parameter_name"))
    key = octets(reader.required_string("descriptor_key"))
    absent = () if reader.boolean("skip_if_absent") else None

    def find(request: Request, context: CallContext) -> tuple[Entry, ...] | None:
        del context
        found = query_parameters(request.path).get(name)
        return absent if found is None else ((key, found),)

    return Parsed(find, missing)


def _remote_address(_: Reader, __: bool) -> Parsed:
    def find(request: Request, context: CallContext) -> tuple[Entry, ...] | None:
        del request
        host = context.remote.host
        return None if parse_ip(host) is None else (("remote_address", host),)

    return Parsed(find)


def _masked_remote_address(reader: Reader, _: bool) -> Parsed:
    missing = check(reader, _OF_ACTION["MaskedRemoteAddress"])
    bits = {
        4: reader.integer("v4_prefix_mask_len", 32, at_least=0, at_most=32),
        6: reader.integer("v6_prefix_mask_len", 128, at_least=0, at_most=128),
    }

    def find(request: Request, context: CallContext) -> tuple[Entry, ...] | None:
        del request
        host = context.remote.host.partition("%")[0]
        found = parse_ip(host)
        if found is None:
            return None
        network = ip_network(f"{host}/{bits[found.version]}", strict=False)
        return (("masked_remote_address", str(network)),)

    return Parsed(find, missing)


def _generic_key(reader: Reader, formats: bool) -> Parsed:
    missing = check(reader, _OF_ACTION["GenericKey"])
    value, unbuilt = _value(reader, formats)
    key = octets(reader.string("descriptor_key")) or "generic_key"

    def find(request: Request, context: CallContext) -> tuple[Entry, ...] | None:
        found = value(request, context)
        return ((key, found),) if found else None

    return Parsed(find, (*missing, *unbuilt))


def _header_value_match(reader: Reader, formats: bool) -> Parsed:
    missing = check(reader, _OF_ACTION["HeaderValueMatch"])
    value, unbuilt = _value(reader, formats)
    key = octets(reader.string("descriptor_key")) or "header_match"
    expected = reader.boolean("expect_match", True)
    headers = reader.each("headers", parse_header_matcher, at_least=1)

    def find(request: Request, context: CallContext) -> tuple[Entry, ...] | None:
        if all(header.matches(request) for header in headers) is not expected:
            return None
        found = value(request, context)
        return ((key, found),) if found else None

    return Parsed(find, (*missing, *unbuilt))


def _query_parameter_value_match(reader: Reader, formats: bool) -> Parsed:
    missing = check(reader, _OF_ACTION["QueryParameterValueMatch"])
    value, unbuilt = _value(reader, formats)
    key = octets(reader.string("descriptor_key")) or "query_match"
    expected = reader.boolean("expect_match", True)
    matchers = reader.each("query_parameters", parse_query_parameter_matcher, at_least=1)

    def find(request: Request, context: CallContext) -> tuple[Entry, ...] | None:
        parameters = query_parameters(request.path)
        if all(matcher.matches(parameters) for matcher in matchers) is not expected:
            return None
        found = value(request, context)
        return ((key, found),) if found else None

    return Parsed(find, (*missing, *unbuilt))


def _remote_address_match(reader: Reader, formats: bool) -> Parsed:
    missing = check(reader, _OF_ACTION["RemoteAddressMatch"])
    value, unbuilt = _value(reader, formats)
    key = octets(reader.string("descriptor_key")) or "remote_address_match"
    matcher = reader.required_message("address_matcher")
    unknown = check(matcher, ADDRESS_MATCHER)
    ranges = matcher.each("ranges", parse_cidr)

    def find(request: Request, context: CallContext) -> tuple[Entry, ...] | None:
        if not any(one.contains(context.remote.host) for one in ranges):
            return None
        found = value(request, context)
        return ((key, found),) if found else None

    return Parsed(find, (*missing, *unbuilt, *unknown))


def _dynamic_metadata(reader: Reader, _: bool) -> Parsed:
    missing = check(reader, _OF_ACTION["DynamicMetaData"])
    return Parsed(_of_metadata(reader, is_dynamic=True, absent=None), missing)


def _metadata(reader: Reader, _: bool) -> Parsed:
    missing = check(reader, _OF_ACTION["MetaData"])
    is_dynamic = reader.enum("source", _SOURCES, "DYNAMIC")
    absent = () if reader.boolean("skip_if_absent") else None
    return Parsed(_of_metadata(reader, is_dynamic=is_dynamic, absent=absent), missing)


def _of_metadata(reader: Reader, *, is_dynamic: bool, absent: tuple[Entry, ...] | None) -> Action:
    key = octets(reader.required_string("descriptor_key"))
    place = reader.required_message("metadata_key")
    check(place, METADATA_KEY)
    namespace = place.required_string("key")
    path = tuple(
        segment.required_string("key")
        for segment in place.messages("path", at_least=1)
        if not check(segment, SEGMENT)
    )
    default = octets(reader.string("default_value"))

    def find(request: Request, context: CallContext) -> tuple[Entry, ...] | None:
        del request
        metadata = context.dynamic_metadata if is_dynamic else context.route_metadata or {}
        found: object = metadata.get(namespace)
        for name in path:
            if not isinstance(found, Mapping):
                break
            found = cast("Mapping[str, object]", found).get(name)
        value = octets(found) if isinstance(found, str) and found else default
        return ((key, value),) if value else absent

    return find


def _value(
    reader: Reader, formats: bool
) -> tuple[Callable[[Request, CallContext], str], tuple[str, ...]]:
    """descriptor_value: as it stands, or a format whose empty text is the default."""
    text = reader.required_string("descriptor_value")
    if not formats:
        constant = octets(text)
        return (lambda request, context: constant), ()
    default = octets(reader.string("default_value"))
    parsed = parse_format(text, f"{reader.path}.descriptor_value")

    def render(request: Request, context: CallContext) -> str:
        return parsed.render(Values(context, request)) or default

    return render, parsed.not_built


_PARSERS: Final[dict[str, Callable[[Reader, bool], Parsed]]] = {
    "destination_cluster": _destination_cluster,
    "request_headers": _request_headers,
    "query_parameters": _query_parameters,
    "remote_address": _remote_address,
    "generic_key": _generic_key,
    "header_value_match": _header_value_match,
    "dynamic_metadata": _dynamic_metadata,
    "metadata": _metadata,
    "masked_remote_address": _masked_remote_address,
    "query_parameter_value_match": _query_parameter_value_match,
    "remote_address_match": _remote_address_match,
}
