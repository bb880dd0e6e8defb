"""Route configurations: what is refused, what is reported, which clusters are named."""

from collections.abc import Mapping

import pytest

from meshsdk.config.extension import Extensions, Registry
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError, UnknownExtensionError
from meshsdk.resources.route_configuration import TABLES, RouteConfiguration, parse

Json = Mapping[str, object]
EXTENSIONS = Extensions(
    Registry("HTTP filter"), Registry("network filter"), Registry("load balancing policy")
)
EMPTY: Json = {}
TO_X: Json = {"match": {"prefix": "/"}, "route": {"cluster": "x"}}


def _host(*routes: Json, **more: object) -> Json:
    return {"name": "v", "domains": ["*"], "routes": routes, **more}


def _parse(*hosts: Json, **more: object) -> RouteConfiguration:
    return parse(Reader({"virtual_hosts": hosts, **more}, "route_configuration"), EXTENSIONS)


def _match(**match: object) -> Json:
    return {"match": match, "route": {"cluster": "x"}}


def _action(**action: object) -> Json:
    return {"match": {"prefix": "/"}, "route": {"cluster": "x", **action}}


def _direct(**response: object) -> Json:
    return {"match": {"prefix": "/"}, "direct_response": response}


def _weighted(**weighted: object) -> Json:
    return {"match": {"prefix": "/"}, "route": {"weighted_clusters": weighted}}


def _adds(key: str, value: str = "v") -> Json:
    return {**TO_X, "request_headers_to_add": [{"header": {"key": key, "value": value}}]}


R = "route_configuration.virtual_hosts[0].routes[0]"
# What Envoy 1.40 refuses: the route, where, why.
REFUSED: list[tuple[Json, str, str]] = [
    ({"match": {"prefix": "/"}}, R, "exactly one of route, redirect"),
    ({"route": {"cluster": "x"}}, f"{R}.match", "expected a message"),
    (_match(), f"{R}.match", "exactly one of prefix, path"),
    (_match(prefix="/", path="/"), f"{R}.match", "exactly one of prefix, path"),
    (_match(path_separated_prefix="/a/"), f"{R}.match.path_separated_prefix", "final slash"),
    (_match(safe_regex={"regex": "("}), f"{R}.match.safe_regex.regex", "RE2"),
    (_match(prefix="/", unheard_of=1), f"{R}.match.unheard_of", "refused"),
    ({"match": {"prefix": "/"}, "route": {}}, f"{R}.route", "exactly one of cluster"),
    (_action(cluster_header="h"), f"{R}.route", "exactly one of cluster"),
    (
        _action(prefix_rewrite="/", regex_rewrite={"pattern": {"regex": "a"}}),
        f"{R}.route",
        "only one of prefix_rewrite",
    ),
    (_action(host_rewrite_literal="a", auto_host_rewrite=True), f"{R}.route", "exactly one of"),
    (
        _action(request_mirror_policies=[EMPTY]),
        f"{R}.route.request_mirror_policies[0]",
        "exactly one",
    ),
    (
        _action(upgrade_configs=[{"upgrade_type": "a"}, {"upgrade_type": "A"}]),
        f"{R}.route.upgrade_configs[1].upgrade_type",
        "twice",
    ),
    (_action(hash_policy=[EMPTY]), f"{R}.route.hash_policy[0]", "exactly one of header"),
    (_weighted(clusters=[]), f"{R}.route.weighted_clusters.clusters", "at least 1"),
    (
        _weighted(clusters=[{"name": "a", "weight": 0}]),
        f"{R}.route.weighted_clusters",
        "Sum of weights",
    ),
    (
        _weighted(clusters=[{"weight": 1}]),
        f"{R}.route.weighted_clusters.clusters[0]",
        "exactly one of name and cluster_header",
    ),
    (_direct(status=600), f"{R}.direct_response.status", "below 600"),
    (_direct(status=199), f"{R}.direct_response.status", "at least 200"),
    (
        _direct(status=200, body={"inline_string": "x" * 4097}),
        f"{R}.direct_response.body",
        "at most 4096 bytes",
    ),
    (
        {"match": {"prefix": "/"}, "redirect": {"path_redirect": "/", "prefix_rewrite": "/"}},
        f"{R}.redirect",
        "exactly one of path_redirect",
    ),
    (_adds("host"), f"{R}.request_headers_to_add[0].header.key", "may not be modified"),
    (_adds(":method"), f"{R}.request_headers_to_add[0].header.key", "may not be modified"),
    (_adds("a", "50%"), f"{R}.request_headers_to_add[0].header.value", "position 2"),
    (_adds("a", "%NOPE%"), f"{R}.request_headers_to_add[0].header.value", "%NOPE%"),
    (
        {**TO_X, "request_headers_to_remove": [":method"]},
        f"{R}.request_headers_to_remove[0]",
        "may not be removed",
    ),
]


@pytest.mark.parametrize(("route", "path", "problem"), REFUSED)
def test_what_envoy_refuses_is_refused_at_its_path(route: Json, path: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        _parse(_host(route))

    assert refused.value.path == path
    assert problem in refused.value.problem


def test_a_domain_may_be_given_once() -> None:
    with pytest.raises(ConfigError, match=r"virtual_hosts\[1\]\.domains\[0\].*A\.com|a\.com"):
        _parse(
            {"name": "a", "domains": ["a.com"]},
            {"name": "b", "domains": ["A.com"]},
        )


def test_a_virtual_host_needs_a_domain_and_has_routes_or_a_matcher() -> None:
    with pytest.raises(ConfigError, match="domains"):
        _parse({"name": "a"})
    with pytest.raises(ConfigError, match="routes and matcher exclude"):
        _parse(_host(TO_X, matcher={}))


def test_an_unknown_override_is_refused_unless_it_is_optional() -> None:
    unknown = {"@type": "type.googleapis.com/x.Y"}
    wrapped = {
        "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
        "config": unknown,
        "is_optional": True,
    }

    with pytest.raises(UnknownExtensionError):
        _parse(_host(TO_X, typed_per_filter_config={"f": unknown}))
    found = _parse(_host(TO_X, typed_per_filter_config={"f": wrapped}))
    assert found.virtual_hosts[0].overrides == {}


def test_a_filter_may_be_switched_off() -> None:
    url = "type.googleapis.com/envoy.config.route.v3.FilterConfig"

    found = _parse(_host(TO_X, typed_per_filter_config={"f": {"@type": url, "disabled": True}}))

    assert found.virtual_hosts[0].overrides == {"f": None}


def test_every_cluster_that_is_named_outright_is_known() -> None:
    found = _parse(
        _host(
            TO_X,
            _weighted(clusters=[{"name": "a", "weight": 1}, {"cluster_header": "h", "weight": 1}]),
            _action(request_mirror_policies=[{"cluster": "m"}]),
        ),
        request_mirror_policies=[{"cluster": "n"}],
    )

    assert found.cluster_names == {"x", "a", "m", "n"}


def test_traffic_fields_without_code_are_reported_by_their_path() -> None:
    found = _parse(_host(_action(internal_redirect_policy={})), vhds={"config_source": {}})

    assert found.not_built == ("route_configuration.vhds",)
    assert found.virtual_hosts[0].routes[0].not_built == (f"{R}.route.internal_redirect_policy",)


def test_a_format_command_without_code_is_reported_where_it_stands() -> None:
    found = _parse(_host(_adds("a", "%CEL(request.path)%")))

    assert found.virtual_hosts[0].routes[0].not_built == (
        f"{R}.request_headers_to_add[0].header.value: %CEL%",
    )


def test_istiods_larger_direct_responses_are_taken() -> None:
    body = {"inline_string": "x" * 5000}

    found = _parse(
        _host(_direct(status=200, body=body)), max_direct_response_body_size_bytes=1 << 20
    )

    assert len(found.virtual_hosts) == 1


def test_the_unnamed_virtual_host_of_a_proxyless_server_is_taken() -> None:
    found = _parse(
        {"domains": ["*"], "routes": [{"match": {"prefix": "/"}, "non_forwarding_action": EMPTY}]}
    )

    assert found.virtual_hosts[0].name == ""


def test_no_message_is_listed_twice() -> None:
    names = [table.message for table in TABLES]

    assert len(set(names)) >= len(names) - 2  # two places use core types of one name
