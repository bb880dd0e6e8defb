"""GRPCRoute of the Gateway API, bound to a Service: what its callers do (GAMMA)."""

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
    rules_of,
)
from meshsdk.control_plane.istio.http_match import HttpMatch
from meshsdk.control_plane.istio.http_rule import HttpRule
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader
from meshsdk.control_plane.istio.string_match import StringMatch

_SPEC: Final = fields(
    "parentRefs", "rules", ignored={"hostnames": "routes of Services are for all their names"}
)
_RULE: Final = RULE_FIELDS | fields(refused={"sessionPersistence": "not built"})
_MATCH: Final = fields("method", "headers")
_METHOD: Final = fields("type", "service", "method")
_SEGMENT: Final = "[^/]+"


def parse_grpc_route(document: Document) -> MeshRoute:
    """The route, or why it cannot be honoured."""
    spec = document.spec(_SPEC)
    metadata = document.metadata
    rules: list[HttpRule] = []
    for i, reader in enumerate(spec.messages("rules", _RULE)):
        name = reader.string("name") or f"{metadata.namespace}.{metadata.name}.{i}"
        rules += _rules(reader, name, metadata.namespace)
    return MeshRoute(metadata, parse_parents(spec, metadata.namespace), tuple(rules))


def _rules(reader: SpecReader, name: str, namespace: str) -> Iterable[HttpRule]:
    filters = parse_filters(reader, namespace)
    if filters.redirect is not None or filters.rewrite is not None:
        raise reader.error_at("filters", "gRPC has no redirects and no rewrites")
    matches = reader.each("matches", _MATCH, _match) or (HttpMatch(),)
    return rules_of(name, matches, filters, parse_backends(reader, namespace), None, None)


def _match(reader: SpecReader) -> HttpMatch:
    method = reader.message("method", _METHOD)
    uri = None if method is None else _uri(method)
    return HttpMatch(uri=uri, headers=parse_headers(reader), is_path_separated=True)


def _uri(reader: SpecReader) -> StringMatch:
    """Source: istiod, createGRPCURIMatch."""
    service, method = reader.string("service"), reader.string("method")
    if not service and not method:
        raise reader.error("expected service or method, found none")
    if reader.enum("type", {"Exact": False, "RegularExpression": True}, "Exact"):
        return StringMatch("regex", f"/{service or _SEGMENT}/{method or _SEGMENT}")
    if not method:
        return StringMatch("prefix", f"/{service}/")
    if not service:
        return StringMatch("regex", f"/{_SEGMENT}/{method}")
    return StringMatch("exact", f"/{service}/{method}")


KIND: Final = Kind(GROUP, "GRPCRoute", ("v1", "v1alpha2"), parse_grpc_route)
