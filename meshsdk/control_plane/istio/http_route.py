"""HTTPRoute of the Gateway API, bound to a Service: what its callers do (GAMMA)."""

from collections.abc import Iterable
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind
from meshsdk.control_plane.istio.gateway_api import (
    GROUP,
    RULE_FIELDS,
    MeshRoute,
    parse_backends,
    parse_filters,
    parse_headers,
    parse_parents,
    parse_query,
    rules_of,
)
from meshsdk.control_plane.istio.http_actions import Retries
from meshsdk.control_plane.istio.http_match import HttpMatch
from meshsdk.control_plane.istio.http_rule import HttpRule
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader
from meshsdk.control_plane.istio.string_match import StringMatch, checked_regex

_SPEC: Final = fields(
    "parentRefs", "rules", ignored={"hostnames": "routes of Services are for all their names"}
)
_RULE: Final = RULE_FIELDS | fields(
    "timeouts", "retry", refused={"sessionPersistence": "not built"}
)
_MATCH: Final = fields("path", "headers", "queryParams", "method")
_PATH: Final = fields("type", "value")
_TIMEOUTS: Final = fields("request", "backendRequest")
_RETRY: Final = fields("codes", "attempts", "backoff")
_TYPES: Final = {"Exact": "exact", "PathPrefix": "prefix", "RegularExpression": "regex"}


def parse_http_route(document: Document) -> MeshRoute:
    """The route, or why it cannot be honoured."""
    spec = document.spec(_SPEC)
    metadata = document.metadata
    rules: list[HttpRule] = []
    readers = spec.messages("rules", _RULE)
    for i, reader in enumerate(readers):
        name = reader.string("name") or f"{metadata.namespace}.{metadata.name}.{i}"
        rules += _rules(reader, name, metadata.namespace)
    return MeshRoute(metadata, parse_parents(spec, metadata.namespace), tuple(rules))


def _rules(reader: SpecReader, name: str, namespace: str) -> Iterable[HttpRule]:
    timeouts = reader.message("timeouts", _TIMEOUTS)
    request = None if timeouts is None else timeouts.optional_duration("request")
    matches = reader.each("matches", _MATCH, _match) or (_EVERYTHING,)
    return rules_of(
        name,
        matches,
        parse_filters(reader, namespace),
        parse_backends(reader, namespace),
        request or None,  # 0s is no timeout
        _retries(reader, timeouts),
    )


_EVERYTHING: Final = HttpMatch(uri=StringMatch("prefix", "/"), is_path_separated=True)


def _match(reader: SpecReader) -> HttpMatch:
    path = reader.message("path", _PATH)
    uri = StringMatch("prefix", "/")
    if path is not None:
        how = path.enum("type", _TYPES, "PathPrefix")
        value = path.string("value", "/")
        if how != "regex" and not value.startswith("/"):
            raise path.error_at("value", f"expected a path that begins with /, found {value!r}")
        uri = (
            StringMatch("regex", checked_regex(path, "value"))
            if how == "regex"
            else StringMatch("exact", value)
            if how == "exact"
            else StringMatch("prefix", value.removesuffix("/") or "/")
        )
    method = reader.string("method")
    return HttpMatch(
        uri=uri,
        method=StringMatch("exact", method) if method else None,
        headers=parse_headers(reader),
        query_params=parse_query(reader),
        is_path_separated=True,
    )


def _retries(reader: SpecReader, timeouts: SpecReader | None) -> Retries | None:
    retry = reader.message("retry", _RETRY)
    each = None if timeouts is None else timeouts.optional_duration("backendRequest")
    if retry is None:
        # Source: istiod, convertHTTPRoute: a timeout of one try needs a policy of tries.
        return Retries(2, each) if each else None
    codes = ",".join(str(code) for code in retry.integers("codes"))
    attempts = retry.integer("attempts", 2, at_least=0)
    backoff = retry.optional_duration("backoff")
    return Retries(attempts, each or None, codes, backoff=backoff)


KIND: Final = Kind(GROUP, "HTTPRoute", ("v1", "v1beta1"), parse_http_route)
