import pytest

from meshsdk.wire.ads_codec import encode_resource
from meshsdk.wire.resource_name import peek_name

CLUSTER = "envoy.config.cluster.v3.Cluster"


@pytest.mark.parametrize(
    ("message", "data", "name"),
    [
        (CLUSTER, {"name": "a", "connect_timeout": "1s", "type": "EDS"}, "a"),
        (CLUSTER, {"connect_timeout": "1s"}, ""),
        ("envoy.config.endpoint.v3.ClusterLoadAssignment", {"cluster_name": "é"}, "é"),
        ("istio.networking.nds.v1.NameTable", {"table": {"a": {}}}, ""),
        ("envoy.type.v3.Percent", {"value": 1.0}, None),
    ],
)
def test_the_name_is_read_from_the_bytes(
    message: str, data: dict[str, object], name: str | None
) -> None:
    assert peek_name(message, encode_resource(message, data)) == name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        pytest.param(b"\x12\x01x\x0a\x01a", "a", id="not the first field"),
        pytest.param(b"\x0a\x01a\x0a\x01b", "b", id="twice: the last counts"),
        pytest.param(b"\x0a\x05ab", None, id="cut off"),
        pytest.param(b"\x0a\x01\xff", None, id="no UTF-8"),
        pytest.param(b"\x0b", None, id="a group"),
        pytest.param(b"\x80", None, id="half a varint"),
        pytest.param(b"\x11\x00\x00\x00\x00\x00\x00\x00\x00\x0a\x01a", "a", id="after a double"),
    ],
)
def test_odd_bytes(raw: bytes, name: str | None) -> None:
    assert peek_name(CLUSTER, raw) == name
