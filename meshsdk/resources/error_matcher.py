"""The MatchPredicate by which a cluster tells failed responses from good ones."""

from collections.abc import Callable
from typing import Final, TypeAlias

from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Response
from meshsdk.config.fields import MessageTable, check, honoured, refused
from meshsdk.config.reader import Reader
from meshsdk.matching.headers import HeaderMatcher, parse_header_matcher

IsError: TypeAlias = Callable[[Response], bool]

_UNSEEN: Final = refused("outlier detection sees response headers alone")
_PREDICATE: Final = MessageTable(
    "envoy.config.common.matcher.v3.MatchPredicate",
    honoured("or_match", "and_match", "not_match", "any_match", "http_response_headers_match")
    | dict.fromkeys(
        (
            "http_request_headers_match",
            "http_request_trailers_match",
            "http_response_trailers_match",
            "http_request_generic_body_match",
            "http_response_generic_body_match",
        ),
        _UNSEEN,
    ),
)
TABLES: Final = (_PREDICATE,)


def as_request(response: Response) -> Request:
    """A response as header matchers see it: its fields, and `:status`."""
    pairs = (*response.headers.pairs, (":status", str(response.status)))
    return Request("", "", "", Headers(pairs))


def parse_error_matcher(reader: Reader) -> IsError:
    """A predicate over responses."""
    check(reader, _PREDICATE)
    kind = reader.required(
        "or_match", "and_match", "not_match", "any_match", "http_response_headers_match"
    )
    match kind:
        case "or_match" | "and_match":
            rules = reader.required_message(kind).each("rules", parse_error_matcher, at_least=2)
            return _every(rules) if kind == "and_match" else _some(rules)
        case "not_match":
            inner = parse_error_matcher(reader.required_message(kind))
            return lambda response: not inner(response)
        case "any_match":
            wanted = reader.boolean(kind)
            return lambda _: wanted
        case _:
            holder = reader.required_message(kind)
            return _headers(holder.each("headers", parse_header_matcher))


def _every(rules: tuple[IsError, ...]) -> IsError:
    return lambda response: all(rule(response) for rule in rules)


def _some(rules: tuple[IsError, ...]) -> IsError:
    return lambda response: any(rule(response) for rule in rules)


def _headers(matchers: tuple[HeaderMatcher, ...]) -> IsError:
    def match(response: Response) -> bool:
        seen = as_request(response)
        return all(matcher.matches(seen) for matcher in matchers)

    return match
