"""envoy.filters.http.header_mutation: fields and query parameters changed by configuration.

Unlike the mutations of routes, these are done one after the other, in their order.
Source: Envoy, HeaderMutation and Http::HeaderMutations.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from meshsdk.call.context import CallContext
from meshsdk.call.endpoint import NO_METADATA
from meshsdk.call.filter import Continue, HttpFilter, Verdict
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Response
from meshsdk.config.extension import Extensions, HttpFilterExtension, Override
from meshsdk.config.fields import MessageTable, check, honoured, not_built
from meshsdk.config.reader import Reader
from meshsdk.filters import query_mutation
from meshsdk.filters.not_built import NotBuilt
from meshsdk.filters.query_mutation import QueryMutations, parse_query_mutations
from meshsdk.matching.octets import lower, octets
from meshsdk.matching.strings import StringMatcher, parse_string_matcher
from meshsdk.resources.format_values import Values
from meshsdk.resources.header_mutations import (
    ONE_LINE,
    ONE_LINE_OF_RESPONSES,
    AppendAction,
    HeaderAddition,
    append,
    parse_header_addition,
)

TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    honoured("mutations", "most_specific_header_mutations_wins"),
)
PER_ROUTE_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
    honoured("mutations"),
)
MUTATIONS: Final = MessageTable(
    "envoy.extensions.filters.http.header_mutation.v3.Mutations",
    {
        **honoured("request_mutations", "query_parameter_mutations", "response_mutations"),
        "response_trailers_mutations": not_built("mutation of trailers"),
        "request_trailers_mutations": not_built("mutation of trailers"),
        "formatters": not_built("formatters by an extension"),
    },
)
MUTATION: Final = MessageTable(
    "envoy.config.common.mutation_rules.v3.HeaderMutation",
    honoured("remove", "append", "remove_on_match"),
)
REMOVE_ON_MATCH: Final = MessageTable(
    "envoy.config.common.mutation_rules.v3.HeaderMutation.RemoveOnMatch", honoured("key_matcher")
)
TABLES: Final = (
    TABLE,
    PER_ROUTE_TABLE,
    MUTATIONS,
    MUTATION,
    REMOVE_ON_MATCH,
    *query_mutation.TABLES,
)
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")  # RFC 9110, 5.6.2, in lower case


@dataclass(frozen=True, slots=True)
class Remove:
    """A field by name; `host` is `:authority`."""

    name: str


@dataclass(frozen=True, slots=True)
class RemoveOnMatch:
    """Every field whose name matches."""

    matcher: StringMatcher


Mutation: TypeAlias = HeaderAddition | Remove | RemoveOnMatch


@dataclass(frozen=True, slots=True)
class Mutations:
    """What one level does."""

    request: tuple[Mutation, ...] = ()
    query: QueryMutations | None = None
    response: tuple[Mutation, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.request or self.query or self.response)

    def of_request(self, request: Request, context: CallContext) -> Request:
        """The request afterwards."""
        for mutation in self.request:
            request = _mutate_request(mutation, request, context)
        if self.query is not None and request.path:
            request = replace(request, path=self.query.apply(request, context))
        return request

    def of_response(self, response: Response, context: CallContext) -> Response:
        """The response afterwards; a status of 0 means that it was removed."""
        for mutation in self.response:
            response = _mutate_response(mutation, response, context)
        return response


@dataclass(frozen=True, slots=True)
class HeaderMutation:
    """The filter's own mutations, and after them those of the levels."""

    own: Mutations
    levels: tuple[Mutations, ...] = ()
    """In the order in which they are done."""
    most_specific_wins: bool = False

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        """The changed request; the answer is changed too."""
        changed = self.own.of_request(request, context)
        for level in self.levels:
            changed = level.of_request(changed, context)
        return Continue(changed, self.on_unasked)

    def on_unasked(self, response: Response, context: CallContext) -> Response:
        """The changed answer."""
        response = self.own.of_response(response, context)
        for level in self.levels:
            response = level.of_response(response, context)
        return response


def _mutate_request(mutation: Mutation, request: Request, context: CallContext) -> Request:
    if isinstance(mutation, HeaderAddition):
        values = Values(context, request, None, context.route_metadata or NO_METADATA)
        return request.with_headers(_added(mutation, request.headers, values))
    if isinstance(mutation, Remove):
        if mutation.name.startswith(":"):
            return _without_pseudo(request, lambda name: name == mutation.name)
        return request.with_headers(request.headers.without(mutation.name))
    matches = mutation.matcher.matches
    kept = Headers(pair for pair in request.headers.pairs if not matches(pair[0]))
    return _without_pseudo(request.with_headers(kept), matches)


def _without_pseudo(request: Request, goes: Callable[[str], bool]) -> Request:
    """What a request lacks then, the codec will say; no upstream looks at `:scheme`."""
    return replace(
        request,
        method="" if goes(":method") else request.method,
        path="" if goes(":path") else request.path,
        authority="" if goes(":authority") else request.authority,
    )


def _mutate_response(mutation: Mutation, response: Response, context: CallContext) -> Response:
    if isinstance(mutation, HeaderAddition):
        request = context.forwarded
        assert request is not None
        values = Values(context, request, response, context.route_metadata or NO_METADATA)
        headers = _added(mutation, response.headers, values, ONE_LINE_OF_RESPONSES)
        return response.with_headers(headers)
    if isinstance(mutation, Remove):
        if mutation.name == ":status":
            return replace(response, status=0)
        return response.with_headers(response.headers.without(mutation.name))
    matches = mutation.matcher.matches
    kept = Headers(pair for pair in response.headers.pairs if not matches(pair[0]))
    return replace(response, headers=kept, status=0 if matches(":status") else response.status)


def _added(
    addition: HeaderAddition,
    headers: Headers,
    values: Values,
    one_line: frozenset[str] = ONE_LINE,
) -> Headers:
    value = addition.value.constant
    if value is None:
        value = addition.value.render(values)
    if not value and not addition.keep_empty:
        return headers
    present = addition.name in headers
    match addition.action:
        case AppendAction.APPEND_IF_EXISTS_OR_ADD:
            return append(headers, addition.name, value, one_line)
        case AppendAction.ADD_IF_ABSENT:
            return headers if present else headers.add(addition.name, value)
        case AppendAction.OVERWRITE_IF_EXISTS_OR_ADD:
            return headers.set(addition.name, value)
        case AppendAction.OVERWRITE_IF_EXISTS:
            return headers.set(addition.name, value) if present else headers


# -- parsing ------------------------------------------------------------------------------------


def parse(reader: Reader, extensions: Extensions) -> HttpFilter:
    """The filter of a HeaderMutation."""
    check(reader, TABLE)
    own, missing = _mutations(reader.message("mutations"), extensions)
    if missing:
        return NotBuilt(missing[0])
    return HeaderMutation(
        own, most_specific_wins=reader.boolean("most_specific_header_mutations_wins")
    )


def parse_override(reader: Reader, extensions: Extensions) -> Override:
    """A level's mutations, beside those of other levels."""
    check(reader, PER_ROUTE_TABLE)
    level, missing = _mutations(reader.message("mutations"), extensions)

    def override(broader: HttpFilter) -> HttpFilter:
        if missing:
            return NotBuilt(missing[0])
        if not isinstance(broader, HeaderMutation):
            return broader
        levels = broader.levels
        levels = (*levels, level) if broader.most_specific_wins else (level, *levels)
        return replace(broader, levels=levels)

    return override


def _mutations(reader: Reader | None, extensions: Extensions) -> tuple[Mutations, tuple[str, ...]]:
    if reader is None:
        return Mutations(), ()
    missing = check(reader, MUTATIONS)
    request = reader.each("request_mutations", _mutation)
    response = reader.each("response_mutations", _mutation)
    query = parse_query_mutations(reader, extensions)
    unbuilt = (
        name
        for mutation in (*request, *response)
        if isinstance(mutation, HeaderAddition)
        for name in mutation.value.not_built
    )
    in_query = () if query is None else query.not_built
    return Mutations(request, query, response), (*missing, *unbuilt, *in_query)


def _mutation(reader: Reader) -> Mutation:
    check(reader, MUTATION)
    match reader.required("remove", "append", "remove_on_match"):
        case "remove":
            name = lower(octets(reader.string("remove")))
            return Remove(":authority" if name == "host" else name)
        case "append":
            addition = parse_header_addition(reader.required_message("append"))
            # Envoy takes any name and then fails every call in the codec; we say it at once.
            if _TOKEN.fullmatch(addition.name) is None:
                raise reader.error_at("append", f"expected a field name, found {addition.name!r}")
            return addition
        case _:
            found = reader.required_message("remove_on_match")
            check(found, REMOVE_ON_MATCH)
            return RemoveOnMatch(parse_string_matcher(found.required_message("key_matcher")))


EXTENSION: Final = HttpFilterExtension(
    name="envoy.filters.http.header_mutation",
    type_urls=(
        "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    ),
    parse=parse,
    parse_override=parse_override,
    override_type_urls=(
        "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
    ),
)
