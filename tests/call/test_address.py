"""Hosts and ports."""

import pytest

from meshsdk.call.address import host_of


@pytest.mark.parametrize(
    ("authority", "host"),
    [("web", "web"), ("web:80", "web"), ("[fd00::1]:80", "fd00::1"), ("[fd00::1]", "fd00::1")],
)
def test_the_host_of_an_authority_has_neither_port_nor_brackets(authority: str, host: str) -> None:
    assert host_of(authority) == host
