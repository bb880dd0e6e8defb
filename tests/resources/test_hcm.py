"""Connection managers: their filters and their routes."""

import pytest

from meshsdk.config.extension import Extensions, HttpFilterExtension, Registry
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.filters import HTTP_FILTERS
from meshsdk.filters.not_built import INERT
from meshsdk.resources.hcm import HttpConnectionManager, parse_hcm
from meshsdk.resources.http_filters import NoFilterConfig
from tests.resources.listening import EXTENSIONS, NONE, PREFIX

ROUTER: dict[str, object] = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": f"{PREFIX}http.router.v3.Router"},
}
RBAC: dict[str, object] = {
    "name": "envoy.filters.http.rbac",
    "typed_config": {"@type": f"{PREFIX}http.rbac.v3.RBAC", "rules": {}},
}
WASM = f"{PREFIX}http.wasm.v3.Wasm"
DISCOVERED: dict[str, object] = {
    "name": "wasm",
    "config_discovery": {
        "config_source": {"ads": {}, "initial_fetch_timeout": "0s"},
        "type_urls": [WASM],
    },
}


def read(
    *filters: object, extensions: Extensions = EXTENSIONS, **fields: object
) -> HttpConnectionManager:
    data = {"http_filters": [*filters, ROUTER], "route_config": {"name": "r"}, **fields}
    return parse_hcm(Reader(data, "hcm"), extensions)


def unknown(name: str = "x", *, optional: bool = False) -> dict[str, object]:
    config = {"@type": "type.googleapis.com/acme.Unknown"}
    return {"name": name, "is_optional": optional, "typed_config": config}


def test_filters_keep_their_order_and_the_skipped_ones_say_why() -> None:
    stats = {"name": "s", "typed_config": {"@type": "type.googleapis.com/stats.PluginConfig"}}

    found = read(stats, RBAC).http_filters

    assert [(f.name, f.filter is None, f.skipped) for f in found] == [
        ("s", True, "telemetry"),
        ("envoy.filters.http.rbac", False, ""),
        ("envoy.filters.http.router", False, ""),
    ]


def test_a_filter_is_found_by_the_type_of_its_config_and_not_by_its_name() -> None:
    found = read(RBAC | {"name": "anything"}).http_filters[0]

    assert found.name == "anything"
    assert found.decides_access


def test_a_filter_of_the_users_own_comes_in_a_typed_struct() -> None:
    seen: list[object] = []

    def parse(reader: Reader, _: Extensions) -> object:
        seen.append(reader.integer("limit"))
        return INERT

    own = HttpFilterExtension("acme", ("type.googleapis.com/acme.Own",), parse)  # type: ignore[arg-type]  # a test's own
    extensions = Extensions(
        Registry("HTTP filter", (*HTTP_FILTERS, own)), Registry("b"), Registry("c")
    )
    config = {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": "type.googleapis.com/acme.Own",
        "value": {"limit": 7.0},
    }

    read({"name": "own", "typed_config": config}, extensions=extensions)

    assert seen == [7]


# Envoy knows this filter, so to it the entry is not optional.
OPTIONAL_LOGIN = {
    "name": "login",
    "is_optional": True,
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.oauth2.v3.OAuth2"},
}


@pytest.mark.parametrize(
    ("filters", "error"),
    [
        ((unknown(),), "hcm.http_filters[0].typed_config: no HTTP filter takes"),
        ((ROUTER,), "hcm.http_filters[0]: terminal filter"),
        ((unknown(optional=True), RBAC), "hcm.http_filters[0]: filter 'x' is not known"),
        ((RBAC, unknown(optional=True), RBAC), "hcm.http_filters[1]: filter 'x' is not known"),
        ((DISCOVERED, RBAC), "hcm.http_filters[0].config_discovery: filter 'wasm' comes by"),
        ((OPTIONAL_LOGIN,), "hcm.http_filters[0].typed_config: no HTTP filter takes"),
        (({"name": "x"},), "hcm.http_filters[0].typed_config: expected the config of filter 'x'"),
    ],
)
def test_a_filter_that_cannot_run_is_refused_where_it_stands(
    filters: tuple[object, ...], error: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        read(*filters)

    assert str(raised.value).startswith(error)


def test_behind_the_policies_an_optional_or_discovered_filter_is_no_error() -> None:
    found = read(RBAC, unknown(optional=True), DISCOVERED)

    assert [f.filter is None for f in found.http_filters] == [False, True, False, False]
    assert found.reports == (("hcm.http_filters[1]", "x: optional and unknown"),)
    assert found.http_filters[2].filter == NoFilterConfig("wasm")


def test_in_envoys_compat_an_optional_filter_is_skipped_anywhere() -> None:
    extensions = Extensions(
        Registry("HTTP filter", HTTP_FILTERS), Registry("b"), Registry("c"), compat="envoy"
    )

    found = read(unknown(optional=True), RBAC, extensions=extensions)

    assert found.http_filters[0].is_unknown


def test_routes_come_by_name_with_their_clock() -> None:
    source = {"ads": NONE, "initial_fetch_timeout": "3s"}
    rds = {"route_config_name": "80", "config_source": source}

    found = read(route_config=None, rds=rds)

    assert (found.rds_name, found.rds_source.fetch_timeout) == ("80", 3.0)
    assert found.route_config is None


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 15.0), ("0s", None), ("2s", 2.0)])
def test_an_unset_clock_is_fifteen_seconds_and_zero_is_none(
    timeout: str | None, seconds: float | None
) -> None:
    source = {"ads": NONE, "initial_fetch_timeout": timeout}

    found = read(route_config=None, rds={"route_config_name": "r", "config_source": source})

    assert found.rds_source.fetch_timeout == seconds


def test_scoped_routes_are_accepted_and_reported() -> None:
    found = read(route_config=None, scoped_routes={"name": "s"})

    assert found.not_built == ("hcm.scoped_routes",)


def test_a_connection_manager_needs_one_source_of_routes() -> None:
    with pytest.raises(ConfigError, match="exactly one of rds, route_config, scoped_routes"):
        read(route_config=None)
