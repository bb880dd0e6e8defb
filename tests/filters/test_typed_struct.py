"""Every filter in Envoy's other form of typed configuration: a TypedStruct, as Istio sends some."""

from collections.abc import Mapping
from typing import cast

import pytest

from meshsdk.cli.check.checker import Checker
from meshsdk.filters import HTTP_FILTERS

_TYPES = "type.googleapis.com/envoy.extensions.filters.http"
ALWAYS = {"numerator": 100.0}
Json = dict[str, object]
# Numbers are doubles in a TypedStruct, integral or not.
KEYS = {"uri": "http://keys/", "cluster": "c", "timeout": "1s"}
FILTERS: dict[str, Json] = {
    "buffer": {"max_request_bytes": 3.0},
    "cors": {},
    "csrf": {"filter_enabled": {"default_value": ALWAYS}},
    "fault": {"abort": {"http_status": 418.0, "percentage": ALWAYS}},
    "header_mutation": {
        "mutations": {"response_mutations": [{"append": {"header": {"key": "x-m", "value": "1"}}}]}
    },
    "jwt_authn": {
        "providers": {"p": {"remote_jwks": {"http_uri": KEYS}}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    },
    "local_ratelimit": {
        "stat_prefix": "x",
        "token_bucket": {"max_tokens": 1.0, "fill_interval": "100s"},
        "filter_enabled": {"default_value": ALWAYS},
        "filter_enforced": {"default_value": ALWAYS},
    },
    "rbac": {
        "rules": {
            "action": "DENY",
            "policies": {"p": {"permissions": [{"any": True}], "principals": [{"any": True}]}},
        }
    },
    "admission_control": {
        "sampling_window": "10s",
        "success_criteria": {
            "http_criteria": {"http_success_status": [{"start": 100.0, "end": 400.0}]}
        },
    },
    "adaptive_concurrency": {
        "gradient_controller_config": {
            "concurrency_limit_params": {"concurrency_update_interval": "1s"},
            "min_rtt_calc_params": {"interval": "60s", "request_count": 50.0},
        }
    },
    "stateful_session": {
        "session_state": {
            "name": "s",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.http.stateful_session.header.v3"
                ".HeaderBasedSessionState",
                "name": "x-session",
            },
        }
    },
}
MESSAGES = {one.name.rpartition(".")[2]: url for one in HTTP_FILTERS for url in one.type_urls[:1]}
FORMS = (
    "type.googleapis.com/udpa.type.v1.TypedStruct",
    "type.googleapis.com/xds.type.v3.TypedStruct",
)
REQUESTS = [
    {"id": str(i), "method": "POST", "authority": "a", "path": "/", "body": "hello"}
    for i in range(2)
]


def outcomes(typed_config: Json) -> list[Mapping[str, object]]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "c"}}
    hosts = [{"name": "v", "domains": ["*"], "routes": [route]}]
    config = {
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [{"name": "f", "typed_config": typed_config}],
    }
    return Checker(config).run(REQUESTS)


def camel(value: object) -> object:
    """As protobuf's JSON printers write it."""
    if isinstance(value, list):
        return [camel(one) for one in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    found: Json = {}
    for name, inner in cast("Json", value).items():
        first, *words = name.split("_")
        found["".join((first, *(word.title() for word in words)))] = camel(inner)
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_decides_alike_in_both_forms(name: str, form: str) -> None:
    url, value = MESSAGES[name], FILTERS[name]
    plain = outcomes({"@type": url, **value})

    assert outcomes({"@type": form, "type_url": url, "value": value}) == plain
    assert outcomes({"@type": form, "type_url": url, "value": camel(value)}) == plain


def test_every_filter_is_here() -> None:
    # The router is in each case; the others need a cluster to ask, or nothing.
    elsewhere = {"router", "ext_authz", "ratelimit", "metadata_exchange"}

    assert set(MESSAGES) - elsewhere == set(FILTERS)
