"""Istio's name table."""

import pytest

from meshsdk.config.reader import Reader
from meshsdk.resources.name_table import parse
from tests.resources.listening import EXTENSIONS

TABLE = {
    "reviews.shop.svc.cluster.local": {"ips": ["10.0.0.1", "10.0.0.2"], "registry": "Kubernetes"},
    "Api.Example.com": {"ips": ["240.240.0.1"], "alt_hosts": ["old.example.com"]},
    "*.example.com": {"ips": ["240.240.0.2"]},
    "*.deep.example.com": {"ips": ["240.240.0.3"]},
    "shop": {"ips": ["10.9.9.9"]},
}


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("reviews.shop.svc.cluster.local", ("10.0.0.1", "10.0.0.2")),
        ("reviews.shop.svc.cluster.local.", ("10.0.0.1", "10.0.0.2")),
        ("reviews", ("10.0.0.1", "10.0.0.2")),
        ("reviews.shop", ("10.0.0.1", "10.0.0.2")),
        ("reviews.shop.svc", ("10.0.0.1", "10.0.0.2")),
        ("reviews.other", ()),
        ("reviews.", ()),
        ("API.example.COM", ("240.240.0.1",)),
        ("old.example.com", ("240.240.0.1",)),
        ("any.example.com", ("240.240.0.2",)),
        ("a.deep.example.com", ("240.240.0.3",)),
        ("a.b.example.com", ("240.240.0.2",)),
        ("example.com", ()),
        ("shop", ("10.9.9.9",)),
        ("", ()),
    ],
)
def test_a_host_is_found_as_a_pod_would_find_it(host: str, addresses: tuple[str, ...]) -> None:
    names = parse(Reader({"table": TABLE}), EXTENSIONS)

    assert names.addresses(host, "shop", "cluster.local") == addresses


def test_without_a_domain_names_are_taken_as_they_are() -> None:
    names = parse(Reader({"table": TABLE}), EXTENSIONS)

    assert names.addresses("reviews") == ()
