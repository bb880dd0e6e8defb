from collections.abc import Iterator, Mapping

import pytest

from meshsdk.wire.bootstrap_form import recorded_state
from meshsdk.wire.json_form import normalize
from meshsdk.wire.pool import full_name
from meshsdk.wire.walk import Held, SetField, set_fields
from tests import recordings

URL = "type.googleapis.com/"


def walk(held: Held) -> Iterator[SetField]:
    for found in set_fields(held.message, held.data, held.path):
        yield found
        for inner in found.held:
            yield from walk(inner)


def fields(message: str, data: Mapping[str, object]) -> list[tuple[str, str]]:
    canonical = normalize(message, data)
    return [(f.path, f.message) for f in walk(Held("", message, canonical, is_typed=False))]


def test_lists_maps_and_any_are_walked_with_their_paths() -> None:
    cluster = "envoy.config.cluster.v3.Cluster"
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

    found = fields(
        cluster,
        {
            "name": "c",
            "connect_timeout": "1s",
            "metadata": {"filter_metadata": {"istio": {"a": 1}}},
            "typed_extension_protocol_options": {
                "k": {"@type": URL + options, "common_http_protocol_options": {}}
            },
            "transport_socket_matches": [{"name": "m"}],
        },
    )

    assert dict(found) == {
        "name": cluster,
        "connect_timeout": cluster,
        "metadata": cluster,
        "metadata.filter_metadata": "envoy.config.core.v3.Metadata",
        "typed_extension_protocol_options": cluster,
        "typed_extension_protocol_options[k].common_http_protocol_options": options,
        "transport_socket_matches": cluster,
        "transport_socket_matches[0].name": f"{cluster}.TransportSocketMatch",
    }


@pytest.mark.parametrize(
    ("typed", "message", "path"),
    [
        ({"@type": URL + "x.Unknown", "a": 1}, "x.Unknown", "typed_config.value"),
        ({"@type": URL + "x.Unknown", "@raw": "AA=="}, "x.Unknown", "typed_config"),
        ({"@type": URL + "google.protobuf.BoolValue", "value": True}, "google.protobuf.BoolValue",
         "typed_config"),
        (
            {
                "@type": URL + "udpa.type.v1.TypedStruct",
                "type_url": URL + "envoy.config.core.v3.SocketAddress",
                "value": {"address": "127.0.0.1"},
            },
            "envoy.config.core.v3.SocketAddress",
            "typed_config",
        ),
    ],
)  # fmt: skip
def test_an_any_holds_what_it_is_the_any_of(typed: object, message: str, path: str) -> None:
    name = "envoy.config.core.v3.TypedExtensionConfig"

    (_, config) = set_fields(name, normalize(name, {"name": "x", "typed_config": typed}))

    assert [(h.path, h.message, h.is_typed) for h in config.held] == [(path, message, True)]


def test_every_field_of_a_recorded_state_is_met() -> None:
    state = recorded_state(recordings.state("01-seed-mesh", "sidecar-frontend"))

    met = {
        (found.message.rpartition(".")[2], found.name)
        for url, named in state.items()
        for name, data in named.items()
        for found in walk(Held(name, full_name(url), data, is_typed=False))
    }

    assert ("HttpConnectionManager", "http_filters") in met
    assert ("HeaderMatcher", "invert_match") in met or ("RouteMatch", "prefix") in met
    assert ("CertificateValidationContext", "match_subject_alt_names") in met
    assert ("LbEndpoint", "metadata") in met
