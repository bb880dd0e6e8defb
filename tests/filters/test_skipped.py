"""`fault` and `cors`, which every istiod listener carries with an empty config."""

import pytest

from meshsdk.call.filter import Continue
from meshsdk.call.message import LocalReply
from meshsdk.config.extension import HttpFilterExtension
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.filters.not_built import INERT
from meshsdk.filters.skipped import CORS, FAULT
from tests.filters.policy_case import ENVOY, Config, Given

FAULT_URL = FAULT.type_urls[0]
POLICY_URL = CORS.override_type_urls[0]


@pytest.mark.parametrize("extension", [FAULT, CORS])
def test_an_empty_config_has_no_effect(extension: HttpFilterExtension) -> None:
    assert extension.parse(Reader({"@type": extension.type_urls[0]}), ENVOY) == INERT

    request = Given().request()
    assert INERT.on_request(request, Given().context()) == Continue(request)


def test_a_config_that_asks_for_something_is_refused_by_name() -> None:
    with pytest.raises(
        ConfigError, match=r"^f\.abort: envoy\.extensions\.filters\.http\.fault.* is not built"
    ):
        FAULT.parse(Reader({"@type": FAULT_URL, "abort": {}}, "f"), ENVOY)


@pytest.mark.parametrize(
    ("extension", "config", "details"),
    [
        (FAULT, {"@type": FAULT_URL}, None),
        (CORS, {"@type": POLICY_URL}, None),
        (
            FAULT,
            {"@type": FAULT_URL, "delay": {}},
            "envoy.extensions.filters.http.fault.v3.HTTPFault",
        ),
        (
            CORS,
            {"@type": POLICY_URL, "max_age": "1"},
            "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        ),
    ],
)
def test_a_route_that_asks_for_something_fails_its_calls_by_name(
    extension: HttpFilterExtension, config: Config, details: str | None
) -> None:
    assert extension.parse_override is not None
    http_filter = extension.parse_override(Reader(config), ENVOY)(INERT)

    verdict = http_filter.on_request(Given().request(), Given().context())

    if details is None:
        assert isinstance(verdict, Continue)
    else:
        assert isinstance(verdict, LocalReply)
        assert (verdict.status, verdict.details) == (500, f"meshsdk_not_built{{{details}}}")
