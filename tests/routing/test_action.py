"""What a route means: clusters, rewrites, answers, header mutations."""

from collections import Counter

import pytest

from meshsdk.call.filter import HttpFilter
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Response
from meshsdk.config.extension import Override
from meshsdk.routing.action import composed
from meshsdk.routing.table import RouteTable
from tests.routing.calls import Draws, Json, choose, configuration, context, request, route, table

ANY: Json = {"prefix": "/"}


def _weighted(**more: object) -> Json:
    clusters = [{"name": "a", "weight": 90}, {"name": "b", "weight": 10}]
    return {"match": ANY, "route": {"weighted_clusters": {"clusters": clusters, **more}}}


def test_clusters_are_drawn_by_weight() -> None:
    routes = table(_weighted())

    drawn = Counter(choose(routes, request(), context(chance=Draws(i))).cluster for i in range(100))

    assert drawn == {"a": 90, "b": 10}


def test_a_field_may_hold_the_value_to_draw_with() -> None:
    routes = table(_weighted(header_name="x-rand"))

    assert choose(routes, request(headers=[("x-rand", "95")])).cluster == "b"
    assert choose(routes, request(headers=[("x-rand", "189")])).cluster == "a"


def test_a_user_keeps_the_cluster_that_its_hash_drew() -> None:
    by_user: Json = {"header": {"header_name": "x-user"}}
    clusters: list[Json] = [{"name": "a", "weight": 1}, {"name": "b", "weight": 1}]
    weighted: Json = {"clusters": clusters, "use_hash_policy": True}
    action: Json = {"weighted_clusters": weighted, "hash_policy": [by_user]}
    routes = table({"match": ANY, "route": action})
    jason = request(headers=[("x-user", "jason")])

    drawn = {choose(routes, jason, context(chance=Draws(i * 7))).cluster for i in range(40)}

    assert len(drawn) == 1


def test_a_field_may_name_the_cluster() -> None:
    routes = table({"match": ANY, "route": {"cluster_header": "X-Cluster"}})

    assert choose(routes, request(headers=[("x-cluster", "c")])).cluster == "c"
    assert choose(routes, request()).cluster == ""


# rewrite, path of the request, what goes upstream.
REWRITES: list[tuple[Json, Json, str, str]] = [
    ({"prefix": "/a"}, {"prefix_rewrite": "/z"}, "/ab?q", "/zb?q"),
    ({"prefix": "/a/"}, {"prefix_rewrite": "/"}, "/a/b", "/b"),
    ({"path": "/a"}, {"prefix_rewrite": "/z"}, "/a?q", "/z?q"),
    ({"path_separated_prefix": "/a"}, {"prefix_rewrite": "/z"}, "/a/b", "/z/b"),
    ({"safe_regex": {"regex": "/a.*"}}, {"prefix_rewrite": "/z"}, "/abc?q", "/z?q"),
    ({"prefix": "/A", "case_sensitive": False}, {"prefix_rewrite": "/z"}, "/ab", "/zb"),
    (
        {"prefix": "/"},
        {"regex_rewrite": {"pattern": {"regex": "/([^/]+)"}, "substitution": "/x-\\1"}},
        "/a/b?/c",
        "/x-a/x-b?/c",
    ),
]


@pytest.mark.parametrize(("match", "rewrite", "path", "upstream"), REWRITES)
def test_a_path_is_rewritten_and_the_old_one_told(
    match: Json, rewrite: Json, path: str, upstream: str
) -> None:
    routes = table(route(match, "x", **rewrite))
    call, asked = context(), request(path)

    sent = choose(routes, asked, call).finalize(asked, call)

    assert sent.path == upstream
    assert sent.field("x-envoy-original-path") == (path,)


@pytest.mark.parametrize("path", ["/q", "/q?a=1"])
def test_a_path_of_which_nothing_would_be_left_stays(path: str) -> None:
    nothing: Json = {"pattern": {"regex": "^/q"}, "substitution": ""}
    forwarded = table(route({"prefix": "/"}, "x", regex_rewrite=nothing))
    redirected = table({"match": ANY, "redirect": {"regex_rewrite": nothing}})
    call, asked = context(), request(path, authority="a.test")

    sent = choose(forwarded, asked, call).finalize(asked, call)
    reply = choose(redirected, asked).reply

    assert sent.path == path
    assert sent.field("x-envoy-original-path") == ()
    assert reply is not None
    assert reply.headers == (("location", f"http://a.test{path}"),)


# host rewrite, fields of the request, authority upstream.
HOSTS: list[tuple[Json, list[tuple[str, str]], str]] = [
    ({"host_rewrite_literal": "new:1"}, [], "new:1"),
    ({"host_rewrite_header": "x-host"}, [("x-host", "h")], "h"),
    ({"host_rewrite_header": "x-host"}, [], "a.test"),
    ({"host_rewrite": "%REQ(x-host)%.fmt"}, [], "-.fmt"),
    (
        {
            "host_rewrite_path_regex": {
                "pattern": {"regex": "/([^/]+).*"},
                "substitution": "\\1.test",
            }
        },
        [],
        "svc.test",
    ),
]


@pytest.mark.parametrize(("rewrite", "headers", "authority"), HOSTS)
def test_a_host_is_rewritten(rewrite: Json, headers: list[tuple[str, str]], authority: str) -> None:
    routes = table(route(ANY, "x", **rewrite))
    call, asked = context(), request("/svc/x?q", headers)

    sent = choose(routes, asked, call).finalize(asked, call)

    assert sent.authority == authority
    told = ("a.test",) if authority != "a.test" else ()
    assert sent.field("x-envoy-original-host") == told


def test_the_old_host_is_appended_once() -> None:
    routes = table(route(ANY, "x", host_rewrite_literal="n", append_x_forwarded_host=True))
    call, asked = context(), request(headers=[("x-forwarded-host", "first")])
    again = request(headers=[("x-forwarded-host", "a.test")])

    chosen = choose(routes, asked, call)

    assert chosen.finalize(asked, call).field("x-forwarded-host") == ("first,a.test",)
    assert chosen.finalize(again, call).field("x-forwarded-host") == ("a.test",)


def test_the_host_of_the_endpoint_is_put_in_when_it_is_known() -> None:
    routes = table(route(ANY, "x", auto_host_rewrite=True))
    call, asked = context(), request()

    chosen = choose(routes, asked, call)
    sent = chosen.finalize(asked, call)

    assert chosen.auto_host_rewrite
    assert sent.authority == "a.test"
    assert chosen.host_of_endpoint(sent, "pod.test", call).authority == "pod.test"


# redirect, path of the request, Location.
REDIRECTS: list[tuple[Json, str, str]] = [
    ({}, "/p?q", "http://a.test:80/p?q"),
    ({"https_redirect": True}, "/p", "https://a.test/p"),
    ({"scheme_redirect": "ftp"}, "/p", "ftp://a.test/p"),
    ({"host_redirect": "b"}, "/p", "http://b/p"),
    ({"port_redirect": 81}, "/p", "http://a.test:81/p"),
    ({"path_redirect": "/n"}, "/p?q", "http://a.test:80/n?q"),
    ({"path_redirect": "/n?r"}, "/p?q", "http://a.test:80/n?r"),
    ({"path_redirect": "/n", "strip_query": True}, "/p?q", "http://a.test:80/n"),
    ({"path_redirect": "n"}, "/p?q", "http://a.test:80/n?q"),
    ({"prefix_rewrite": "/z"}, "/p?q", "http://a.test:80/z?q"),
    ({"prefix_rewrite": "z"}, "/p?q", "http://a.test:80/z?q"),
    (
        {"regex_rewrite": {"pattern": {"regex": "^/(.*)$"}, "substitution": "/v/\\1"}},
        "/p",
        "http://a.test:80/v/p",
    ),
]


@pytest.mark.parametrize(("redirect", "path", "location"), REDIRECTS)
def test_a_redirect_changes_what_it_says_and_keeps_the_rest(
    redirect: Json, path: str, location: str
) -> None:
    routes = table({"match": {"path": "/p"}, "redirect": redirect})

    reply = choose(routes, request(path, authority="a.test:80")).reply

    assert reply == LocalReply(301, headers=(("location", location),), details="direct_response")


def test_a_direct_response_may_be_made_by_a_format() -> None:
    plain = {"status": 503, "body": {"inline_string": "down"}}
    formatted = {
        "status": 400,
        "body": {"inline_string": "x"},
        "body_format": {
            "json_format": {
                "code": "%RESPONSE_CODE%",
                "said": "%LOCAL_REPLY_BODY%",
                "in": "[%REQ(a)%]",
            }
        },
    }
    routes = table(
        {"match": {"path": "/plain"}, "direct_response": plain},
        {"match": {"path": "/json"}, "direct_response": formatted},
    )

    reply = choose(routes, request("/plain")).reply
    made = choose(routes, request("/json")).reply

    assert reply == LocalReply(503, b"down", details="direct_response")
    assert made is not None
    assert made.body == b'{"code":400,"in":"[-]","said":"x"}\n'
    assert made.headers == (("content-type", "application/json"),)


def test_a_route_of_a_server_alone_forwards_nothing() -> None:
    chosen = choose(table({"match": ANY, "non_forwarding_action": {}}), request())

    assert chosen.non_forwarding
    assert chosen.cluster == ""


def _set(name: str, value: str) -> Json:
    header = {"key": name, "value": value}
    return {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


# A weighted cluster's own go first whichever way (Envoy, WeightedClusterEntry).
@pytest.mark.parametrize(("most_specific", "value"), [(False, "host"), (True, "route")])
def test_the_last_level_has_the_last_word(most_specific: bool, value: str) -> None:
    entry = {"name": "x", "weight": 1, "request_headers_to_add": [_set("x-l", "cluster")]}
    host = {
        "name": "v",
        "domains": ["*"],
        "request_headers_to_add": [_set("x-l", "host")],
        "routes": [
            {
                "match": ANY,
                "route": {"weighted_clusters": {"clusters": [entry]}},
                "request_headers_to_add": [_set("x-l", "route")],
            }
        ],
    }
    routes = RouteTable(configuration(host, most_specific_header_mutations_wins=most_specific))
    call, asked = context(), request()

    sent = choose(routes, asked, call).finalize(asked, call)

    assert sent.field("x-l") == (value,)


def test_a_response_format_reads_the_request_that_went_upstream() -> None:
    routes = table(
        {
            **route(ANY, "x"),
            "request_headers_to_add": [_set("x-a", "new")],
            "response_headers_to_add": [_set("x-b", "%REQ(x-a)% %RESPONSE_CODE%")],
            "response_headers_to_remove": ["x-drop"],
        }
    )
    call, asked = context(), request(headers=[("x-a", "old")])
    chosen = choose(routes, asked, call)
    chosen.finalize(asked, call)

    answer = chosen.on_response(Response(204, Headers([("x-drop", "1")])), call)

    assert answer.headers.pairs == (("x-b", "new 204"),)


def test_a_local_reply_keeps_the_type_that_a_route_gave_it() -> None:
    routes = table(
        {
            "match": ANY,
            "direct_response": {"status": 200, "body": {"inline_string": "{}"}},
            "response_headers_to_add": [
                {"header": {"key": "content-type", "value": "application/json"}},
                {"header": {"key": "x-code", "value": "%RESPONSE_CODE%"}},
            ],
            "response_headers_to_remove": ["content-length"],
        }
    )
    call = context()
    chosen = choose(routes, request(), call)
    call.details = "direct_response"

    answer = chosen.on_response(
        Response(200, Headers([("content-length", "2"), ("content-type", "text/plain")])), call
    )

    assert dict(answer.headers) == {
        "content-type": "application/json",
        "content-length": "2",
        "x-code": "0",
    }


def test_a_virtual_host_gives_its_routes_what_they_do_not_say() -> None:
    own = route({"path": "/own"}, "x", retry_policy={"retry_on": "reset", "num_retries": 7})
    routes = table(
        own,
        route(ANY, "x"),
        retry_policy={"retry_on": "5xx", "num_retries": 3},
        include_request_attempt_count=True,
        request_body_buffer_limit=10,
    )

    first, second = choose(routes, request("/own")), choose(routes, request("/"))

    assert first.retry_policy is not None
    assert second.retry_policy is not None
    assert (first.retry_policy.num_retries, second.retry_policy.num_retries) == (7, 3)
    assert second.include_request_attempt_count
    assert second.request_body_buffer_limit == 10


class _Named:
    """A filter that remembers which overrides made it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_request(self, request: object, context: object) -> LocalReply:
        return LocalReply(500)


def _override(name: str) -> Override:
    def override(http_filter: HttpFilter) -> HttpFilter:
        assert isinstance(http_filter, _Named)
        return _Named(f"{http_filter.name}>{name}")

    return override


def test_overrides_of_all_levels_are_composed_and_a_disabled_one_voids_those_before() -> None:
    found = composed(
        (
            {"f": _override("host"), "g": _override("host"), "h": _override("host")},
            {"f": _override("route"), "g": None, "h": None},
            {"h": _override("cluster")},
        )
    )

    assert found["g"] is None
    names = [override(_Named("base")) for n in ("f", "h") if (override := found[n]) is not None]
    assert [getattr(made, "name", "") for made in names] == [
        "base>host>route",
        "base>cluster",
    ]
