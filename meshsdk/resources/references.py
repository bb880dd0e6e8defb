"""Which other resources a resource names, and how long each may be waited for."""

from collections.abc import Iterable, Iterator

from meshsdk.config.reader import Reader
from meshsdk.resources import (
    cluster,
    extension_config,
    load_assignment,
    route_configuration,
    secret,
)
from meshsdk.resources.cluster import Cluster
from meshsdk.resources.config_source import ADS, ConfigSource, parse_config_source
from meshsdk.resources.hcm import HttpConnectionManager
from meshsdk.resources.listener import Listener
from meshsdk.resources.resource_type import Reference
from meshsdk.resources.route_configuration import RouteConfiguration
from meshsdk.resources.tcp_proxy import TcpProxy
from meshsdk.resources.tls import secrets


def of_listener(listener: object, reader: Reader) -> Iterable[Reference]:
    """Route configurations, discovered filters, secrets, clusters of inline routes and tcp_proxy."""
    del reader
    assert isinstance(listener, Listener)
    found: dict[tuple[str, str], Reference] = {}
    for reference in _of_listener(listener):
        found.setdefault(reference[:2], reference)
    return found.values()


def _of_listener(listener: Listener) -> Iterator[Reference]:
    for manager in listener.connection_managers():
        yield from _of_connection_manager(manager)
    for chain in listener.chains():
        if isinstance(chain.terminal, TcpProxy):
            for name in chain.terminal.cluster_names:
                yield Reference(cluster.TYPE_URL, name)
        for one in secrets(chain.tls):
            if one.by_stream:
                yield Reference(secret.TYPE_URL, one.name, one.source.fetch_timeout)


def _of_connection_manager(manager: HttpConnectionManager) -> Iterator[Reference]:
    if manager.rds_name and manager.rds_source.is_ads:
        timeout = manager.rds_source.fetch_timeout
        yield Reference(route_configuration.TYPE_URL, manager.rds_name, timeout)
    for entry in manager.http_filters:
        discovery = entry.discovery
        if discovery is not None and discovery.source.is_ads:
            timeout = discovery.source.fetch_timeout
            yield Reference(extension_config.TYPE_URL, entry.name, timeout)
    if manager.route_config is not None:
        for name in manager.route_config.cluster_names:
            yield Reference(cluster.TYPE_URL, name)


def of_route_configuration(value: object, reader: Reader) -> Iterable[Reference]:
    """Clusters that a call may need to be there."""
    del reader
    assert isinstance(value, RouteConfiguration)
    return [Reference(cluster.TYPE_URL, name) for name in value.cluster_names]


def of_cluster(value: object, reader: Reader) -> Iterable[Reference]:
    """The load assignment of an EDS cluster, and secrets."""
    assert isinstance(value, Cluster)
    found: dict[tuple[str, str], Reference] = {}
    source = _eds_source(reader)
    if value.eds_name and source.is_ads:
        wanted = Reference(load_assignment.TYPE_URL, value.eds_name, source.fetch_timeout)
        found[wanted[:2]] = wanted
    sockets = (value.transport_socket, *(m.socket for m in value.transport_socket_matches))
    for socket in sockets:
        for one in secrets(socket):
            if one.by_stream:
                wanted = Reference(secret.TYPE_URL, one.name, one.source.fetch_timeout)
                found.setdefault(wanted[:2], wanted)
    return found.values()


def _eds_source(reader: Reader) -> ConfigSource:
    eds = reader.message("eds_cluster_config")
    source = None if eds is None else eds.message("eds_config")
    return ADS if source is None else parse_config_source(source)
