"""Responses and resources for the tests of this room: proto-JSON in, no protobuf."""

import json
from collections.abc import Callable, Generator, Mapping
from typing import TypeVar

from meshsdk.config.extension import Extensions, Registry
from meshsdk.config.reader import Reader
from meshsdk.filters import HTTP_FILTERS, NETWORK_FILTERS
from meshsdk.lb_policies import LB_POLICIES
from meshsdk.resources import CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION
from meshsdk.resources.resource_type import Reference, ResourceType
from meshsdk.testing.clock import FakeClock, SeededRandom
from meshsdk.xds.client import Update, XdsClient
from meshsdk.xds.messages import Decoded, DiscoveryResponse, Received, UnknownField, Variant

T = TypeVar("T")
LDS, RDS, CDS, EDS = (
    kind.type_url for kind in (LISTENER, ROUTE_CONFIGURATION, CLUSTER, LOAD_ASSIGNMENT)
)
NDS = "type.googleapis.com/istio.networking.nds.v1.NameTable"
HCM_URL = (
    "type.googleapis.com/"
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}
EXTENSIONS = Extensions(
    Registry("HTTP filter", HTTP_FILTERS),
    Registry("network filter", NETWORK_FILTERS),
    Registry("load balancing policy", LB_POLICIES),
)
Data = Mapping[str, object]


def received(
    type_url: str,
    name: str | None,
    data: Data,
    unknown: tuple[UnknownField, ...] = (),
    counts: list[str] | None = None,
) -> Received:
    """A resource; `counts` notes each decode."""

    def decode() -> Decoded:
        if counts is not None:
            counts.append(name or "")
        return Decoded(data, unknown)

    return Received(name, json.dumps(data).encode(), type_url, decode)


def push(
    type_url: str,
    resources: Mapping[str, Data] | None = None,
    *,
    removed: tuple[str, ...] = (),
    nonce: str = "n1",
    variant: Variant = "delta",
) -> DiscoveryResponse:
    """A response with these resources by name."""
    return DiscoveryResponse(
        type_url,
        f"v-{nonce}",
        nonce,
        tuple(received(type_url, name, data) for name, data in (resources or {}).items()),
        removed,
        delta=variant == "delta",
    )


def finish(generator: Generator[object, None, T]) -> T:
    """Run to the end without a pause."""
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            value: T = stop.value
            return value


def toy_type(
    parse: Callable[[Reader, Extensions], object] | None = None,
    references: Callable[[object, Reader], tuple[Reference, ...]] | None = None,
    *,
    is_full: bool = False,
    type_url: str = "type.googleapis.com/test.Toy",
) -> ResourceType:
    """A resource type `{"value": int}`; a missing value is an error at `toy.value`."""

    def value(reader: Reader, _: Extensions) -> object:
        if not reader.has("value"):
            raise reader.error_at("value", "expected an integer, found none")
        return reader.integer("value")

    kind = ResourceType("TOY", type_url, "toy", parse or value, (), is_full=is_full)
    if references is None:
        return kind
    return ResourceType("TOY", type_url, "toy", parse or value, (), references, is_full=is_full)


class Feed:
    """A client with a connected stream and a clock, fed by hand."""

    def __init__(self, variant: Variant = "delta", mode: str = "sidecar") -> None:
        self.clock = FakeClock()
        self.variant: Variant = variant
        self.client = XdsClient(
            EXTENSIONS, "sidecar" if mode == "sidecar" else "proxyless", SeededRandom(), variant
        )
        self.first = self.client.connected(self.clock.monotonic())
        self.update = self.first
        self.snapshots = [] if self.first.snapshot is None else [self.first.snapshot]
        self._count = 0

    def take(self, update: Update) -> Update:
        self.update = update
        if update.snapshot is not None:
            self.snapshots.append(update.snapshot)
        return update

    def push(
        self,
        type_url: str,
        resources: Mapping[str, Data] | None = None,
        removed: tuple[str, ...] = (),
    ) -> Update:
        self._count += 1
        response = push(
            type_url,
            resources,
            removed=removed,
            nonce=f"n{self._count}",
            variant=self.variant,
        )
        return self.take(finish(self.client.receive(response, self.clock.monotonic())))

    def wait(self, seconds: float) -> Update:
        self.clock.advance(seconds)
        return self.take(self.client.tick(self.clock.monotonic()))


def hcm(*filters: Data, **more: object) -> Data:
    """A connection manager's config; the router is added."""
    return {"@type": HCM_URL, "stat_prefix": "x", "http_filters": [*filters, ROUTER], **more}


def listener(name: str, manager: Data, **more: object) -> Data:
    """A listener with one chain of one connection manager."""
    network = {"name": "hcm", "typed_config": manager}
    return {
        "name": name,
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
        "filter_chains": [{"filters": [network]}],
        **more,
    }


def rds(name: str, timeout: str = "0s") -> Data:
    """The part of a connection manager that names its routes."""
    return {
        "rds": {
            "route_config_name": name,
            "config_source": {"ads": {}, "initial_fetch_timeout": timeout},
        }
    }


def routes(name: str, *clusters: str) -> Data:
    """A route configuration that names these clusters."""
    return {
        "name": name,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [
                    {"match": {"prefix": f"/{cluster}"}, "route": {"cluster": cluster}}
                    for cluster in clusters
                ],
            }
        ],
    }


def eds_cluster(name: str, timeout: str = "0s", **more: object) -> Data:
    """A cluster whose endpoints come by EDS."""
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {
            "eds_config": {"ads": {}, "initial_fetch_timeout": timeout},
        },
        **more,
    }


def endpoints(name: str, *hosts: str) -> Data:
    """A load assignment."""
    return {
        "cluster_name": name,
        "endpoints": [
            {
                "lb_endpoints": [
                    {
                        "endpoint": {
                            "address": {"socket_address": {"address": host, "port_value": 80}}
                        }
                    }
                    for host in hosts
                ]
            }
        ],
    }
