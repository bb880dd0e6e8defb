"""A rule's conditions as Envoy's RouteMatch. Source: istiod, TranslateRouteMatch."""

from collections.abc import Iterable

from meshsdk.control_plane.istio.envoy_json import message
from meshsdk.control_plane.istio.http_match import CLAIMS, HttpMatch
from meshsdk.control_plane.istio.string_match import StringMatch
from meshsdk.control_plane.shapes.tls import Json


def route_match(match: HttpMatch | None) -> Json:
    """None is everything."""
    if match is None:
        return {"prefix": "/"}
    found: Json = {**_path(match), "case_sensitive": not match.ignore_uri_case}
    headers = sorted(_headers(match), key=lambda header: str(header["name"]))
    pseudo = ((":method", match.method), (":authority", match.authority), (":scheme", match.scheme))
    headers += [_header(name, value) for name, value in pseudo if value is not None]
    if headers:
        found["headers"] = headers
    if match.query_params:
        found["query_parameters"] = [
            _header(name, value) for name, value in sorted(match.query_params.items())
        ]
    claims = list(_claims(match))
    if claims:
        found["dynamic_metadata"] = claims
    return found


def is_catch_all(match: Json) -> bool:
    """Whether no later route can be reached. Source: istiod, isCatchAllRoute."""
    path = match.get("prefix", match.get("path_separated_prefix"))
    regex = message(match.get("safe_regex", {})).get("regex")
    is_every = path == "/" or regex in (".*", "*")
    narrows = ("headers", "query_parameters", "dynamic_metadata")
    return is_every and not any(match.get(name) for name in narrows)


def _path(match: HttpMatch) -> Json:
    uri = match.uri
    if uri is None or uri.how == "present":
        return {"prefix": "/"}
    if uri.how == "exact":
        return {"path": uri.value}
    if uri.how == "regex":
        return {"safe_regex": {"regex": uri.value}}
    if match.is_path_separated and uri.value != "/":
        return {"path_separated_prefix": uri.value.removesuffix("/")}
    return {"prefix": uri.value}


def _headers(match: HttpMatch) -> Iterable[Json]:
    for name, value in match.headers.items():
        if not name.startswith(CLAIMS):
            yield _header(name, value)
    for name, value in match.without_headers.items():
        if not name.startswith(CLAIMS):
            header = {**_header(name, value), "invert_match": True}
            if value.how != "present":
                header["treat_missing_header_as_empty"] = True
            yield header


def _header(name: str, value: StringMatch) -> Json:
    if value.how == "present":
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": value.envoy()}


def _claims(match: HttpMatch) -> Iterable[Json]:
    """`@request.auth.claims.a.b` or `@request.auth.claims[a][b]`: what jwt_authn has read."""
    for invert, values in ((False, match.headers), (True, match.without_headers)):
        for name, value in sorted(values.items()):
            if not name.startswith(CLAIMS):
                continue
            rest = name.removeprefix(CLAIMS)
            keys = rest[1:-1].split("][") if rest.startswith("[") else rest[1:].split(".")
            path = [{"key": key} for key in ("payload", *keys)]
            text = {"safe_regex": {"regex": ".+"}} if value.how == "present" else value.envoy()
            matchers = [{"list_match": {"one_of": {"string_match": text}}}, {"string_match": text}]
            metadata: Json = {
                "filter": "envoy.filters.http.jwt_authn",
                "path": path,
                "value": {"or_match": {"value_matchers": matchers}},
            }
            yield {**metadata, "invert": True} if invert else metadata
