"""From a request to its route."""

import pytest

from meshsdk.call.certificate import Certificate
from meshsdk.call.message import Request
from meshsdk.routing.index import RouteIndex
from meshsdk.routing.table import RouteTable
from tests.routing.calls import (
    Draws,
    Json,
    choose,
    configuration,
    context,
    request,
    route,
    table,
)

# envoy.config.route.v3.RouteMatch: match, a path that it takes, one that it does not.
PATHS: list[tuple[Json, str, str]] = [
    ({"prefix": "/a"}, "/ab?x", "/b"),
    ({"path": "/a"}, "/a?x=1", "/a/"),
    ({"safe_regex": {"regex": "/a[0-9]+"}}, "/a12?x", "/a12/"),
    ({"path_separated_prefix": "/a"}, "/a/b", "/ab"),
    ({"prefix": "/A", "case_sensitive": False}, "/ab", "/b"),
    ({"path": "/A", "case_sensitive": False}, "/a", "/ab"),
    ({"path_separated_prefix": "/A", "case_sensitive": False}, "/a/B", "/ab"),
    (
        {
            "path_match_policy": {
                "name": "template",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3"
                    ".UriTemplateMatchConfig",
                    "path_template": "/a/{id}/c",
                },
            }
        },
        "/a/7/c?x",
        "/a/7/8/c",
    ),
]


@pytest.mark.parametrize(("match", "taken", "left"), PATHS)
def test_each_kind_of_path_looks_at_the_path_without_query(
    match: Json, taken: str, left: str
) -> None:
    routes = table(route(match, "yes"))

    assert choose(routes, request(taken)).cluster == "yes"
    assert routes.choose(request(left), context()) is None


CONDITIONS: list[tuple[Json, Request, Request]] = [
    (
        {"headers": [{"name": "X-A", "string_match": {"exact": "1"}}]},
        request(headers=[("x-a", "0"), ("x-a", "1")]),
        request(headers=[("x-a", "0")]),
    ),
    (
        {"query_parameters": [{"name": "q", "string_match": {"exact": "1"}}]},
        request("/?q=1&q=2"),
        request("/?q=2&q=1"),
    ),
    (
        {"cookies": [{"name": "user", "string_match": {"exact": "jason"}}]},
        request(headers=[("cookie", "a=b; user=jason")]),
        request(headers=[("cookie", "user=bob")]),
    ),
    (
        {"grpc": {}},
        request(headers=[("content-type", "application/grpc+proto")]),
        request(headers=[("content-type", "application/grpc-web")]),
    ),
]


@pytest.mark.parametrize(("match", "taken", "left"), CONDITIONS)
def test_every_condition_must_hold(match: Json, taken: Request, left: Request) -> None:
    routes = table(route({"prefix": "/", **match}, "yes"))

    assert choose(routes, taken).cluster == "yes"
    assert routes.choose(left, context()) is None


def test_metadata_state_and_certificate_of_the_call_are_matched() -> None:
    metadata = {"filter": "ns", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}
    state = {"key": "s", "string_match": {"exact": "on"}}
    routes = table(
        route({"prefix": "/", "dynamic_metadata": [metadata]}, "metadata"),
        route({"prefix": "/", "filter_state": [state]}, "state"),
        route({"prefix": "/", "tls_context": {"validated": True}}, "certificate"),
        route({"prefix": "/"}, "rest"),
    )
    with_metadata, with_state = context(), context()
    with_metadata.metadata("ns", "k", "v")
    with_state.filter_state["s"] = "on"

    assert choose(routes, request(), with_metadata).cluster == "metadata"
    assert choose(routes, request(), with_state).cluster == "state"
    assert choose(routes, request(), context(certificate=Certificate())).cluster == "certificate"
    assert choose(routes, request()).cluster == "rest"


def test_a_connect_matcher_takes_what_has_no_path() -> None:
    routes = table(route({"prefix": "/"}, "path"), route({"connect_matcher": {}}, "connect"))

    assert choose(routes, request("", method="CONNECT")).cluster == "connect"
    assert choose(routes, request("/")).cluster == "path"


def test_fractions_and_weights_of_one_call_share_its_draw() -> None:
    half = {"default_value": {"numerator": 50}}
    routes = table(
        route({"prefix": "/", "runtime_fraction": half}, "first"),
        route({"prefix": "/", "runtime_fraction": half}, "never"),
        route({"prefix": "/"}, "rest"),
    )
    below, above = context(chance=Draws(49)), context(chance=Draws(50, 0))

    assert choose(routes, request(), below).cluster == "first"
    assert choose(routes, request(), above).cluster == "rest"
    assert choose(routes, request(), above).cluster == "rest"


def test_parameters_of_segments_may_be_ignored() -> None:
    host = {"name": "v", "domains": ["*"], "routes": [route({"path": "/admin"}, "admin")]}
    call = context()

    ignoring = RouteTable(configuration(host, ignore_path_parameters_in_path_matching=True))

    assert choose(ignoring, request("/admin;x=1?q"), call).cluster == "admin"
    assert call.ignore_path_parameters
    assert RouteTable(configuration(host)).choose(request("/admin;x"), context()) is None


def test_a_virtual_host_without_a_route_does_not_fall_through() -> None:
    routes = RouteTable(
        configuration(
            {"name": "a", "domains": ["a.test"], "routes": [route({"path": "/x"}, "a")]},
            {"name": "any", "domains": ["*"], "routes": [route({"prefix": "/"}, "any")]},
        )
    )

    assert routes.choose(request("/y", authority="a.test"), context()) is None
    assert choose(routes, request("/y", authority="b.test")).cluster == "any"


def _tls(kind: str) -> RouteTable:
    return table(route({"prefix": "/"}, "x"), require_tls=kind)


def test_a_virtual_host_that_requires_tls_redirects_plaintext() -> None:
    reply = choose(_tls("ALL"), request("/a?b", authority="h:81")).reply

    assert reply is not None
    assert (reply.status, reply.headers) == (301, (("location", "https://h:81/a?b"),))


def test_internal_callers_are_external_to_nobody() -> None:
    internal = request(headers=[("x-envoy-internal", "true")])

    assert choose(_tls("EXTERNAL_ONLY"), internal).cluster == "x"
    assert choose(_tls("EXTERNAL_ONLY"), request()).reply is not None
    assert choose(_tls("ALL"), request(scheme="https")).cluster == "x"


def test_a_virtual_cluster_is_named_for_statistics() -> None:
    users = {"name": "users", "headers": [{"name": ":path", "string_match": {"prefix": "/u"}}]}
    routes = table(route({"prefix": "/"}, "x"), virtual_clusters=[users])

    for path, name in (("/users", "users"), ("/other", "")):
        chosen = choose(routes, request(path), context())
        assert chosen.virtual_cluster is not None
        assert chosen.virtual_cluster(request(path)) == name


def test_a_matcher_tree_leads_to_routes_that_match_themselves() -> None:
    def leaf(path: str, cluster: str) -> Json:
        url = "type.googleapis.com/envoy.config.route.v3.Route"
        config = {"@type": url, **route({"prefix": path}, cluster)}
        return {"action": {"name": "route", "typed_config": config}}

    url = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
    tree = {
        "input": {"name": "h", "typed_config": {"@type": url, "header_name": "x-t"}},
        "exact_match_map": {"map": {"one": leaf("/", "one"), "two": leaf("/two", "two")}},
    }
    found = RouteTable(
        configuration(
            {
                "name": "v",
                "domains": ["*"],
                "matcher": {"matcher_tree": tree, "on_no_match": leaf("/", "none")},
            }
        )
    )

    assert choose(found, request(headers=[("x-t", "one")])).cluster == "one"
    assert choose(found, request()).cluster == "none"
    assert found.choose(request(headers=[("x-t", "two")]), context()) is None


def test_a_long_list_finds_the_route_that_a_scan_finds() -> None:
    matches: list[Json] = []
    for i in range(60):
        matches += [
            {"path": f"/p/{i}"},
            {"prefix": f"/p/{i}"},
            {"path_separated_prefix": f"/s/{i % 7}"},
            {"path": f"/c/{i}", "case_sensitive": False},
            {"safe_regex": {"regex": f"/p/{i}[0-9]x"}},
        ]
    routes = (
        configuration(
            {
                "name": "v",
                "domains": ["*"],
                "routes": [route(match, str(i)) for i, match in enumerate(matches)],
            }
        )
        .virtual_hosts[0]
        .routes
    )
    index, call = RouteIndex(routes), context()
    paths = [f"/{kind}/{i}{end}" for kind in "psc" for i in range(60) for end in ("", "/x", "7x")]

    for path in paths:
        asked = request(path)
        scan = next((r for r in routes if r.match.matches(asked, path, call, 0)), None)
        assert index.find(asked, path, call, 0) is scan
