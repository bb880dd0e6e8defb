"""envoy.config.core.v3.CidrRange."""

import pytest

from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.matching.cidr import parse_cidr


@pytest.mark.parametrize(
    ("prefix", "length", "host", "expected"),
    [
        ("10.1.2.3", 8, "10.200.0.1", True),
        ("10.1.2.3", 8, "11.0.0.1", False),
        ("10.1.2.3", 32, "10.1.2.3", True),
        ("10.1.2.3", 64, "10.1.2.3", True),
        ("0.0.0.0", 0, "1.2.3.4", True),
        ("10.0.0.1", None, "1.2.3.4", True),
        ("0.0.0.0", 0, "::1", False),
        ("2001:db8::", 32, "2001:db8:1::1", True),
        ("::", 0, "10.0.0.1", False),
        ("1.2.3.4", 32, "::ffff:1.2.3.4", False),
        ("fe80::", 10, "fe80::1%eth0", True),
        ("0.0.0.0", 0, "/run/app.sock", False),
        ("0.0.0.0", 0, "", False),
    ],
)
def test_a_range_contains_addresses_of_its_family(
    prefix: str, length: int | None, host: str, expected: bool
) -> None:
    config = {"address_prefix": prefix} | ({} if length is None else {"prefix_len": length})

    assert parse_cidr(Reader(config)).contains(host) is expected


@pytest.mark.parametrize(
    "prefix", ["", "10.0.0", "10.0.0.0/8", "host", "fe80::1%eth0", "010.0.0.1"]
)
def test_a_prefix_that_is_no_address_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="address_prefix"):
        parse_cidr(Reader({"address_prefix": prefix, "prefix_len": 8}))


def test_a_range_prints_its_network() -> None:
    assert str(parse_cidr(Reader({"address_prefix": "10.1.2.3", "prefix_len": 8}))) == "10.0.0.0/8"
