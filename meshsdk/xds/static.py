"""Resources that are all here already, as a snapshot: `Mesh.static`, `check`, tests."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from meshsdk.config.extension import Extensions
from meshsdk.config.reader import Reader
from meshsdk.resources import (
    cluster,
    listener,
    load_assignment,
    name_table,
    route_configuration,
    secret,
)
from meshsdk.resources.listener import Listener
from meshsdk.resources.snapshot import Snapshot

T = TypeVar("T")
Resources = Mapping[str, Mapping[str, Mapping[str, object]]]
"""Canonical proto-JSON by type URL and name."""
_TYPES = {
    listener.TYPE_URL: "listener",
    route_configuration.TYPE_URL: "route_configuration",
    cluster.TYPE_URL: "cluster",
    load_assignment.TYPE_URL: "load_assignment",
    secret.TYPE_URL: "secret",
    name_table.TYPE_URL: "name_table",
}


def static_snapshot(resources: Resources, extensions: Extensions, version: int = 1) -> Snapshot:
    """A snapshot of everything. ConfigError names resource and field of the first that is bad.

    A listener that refers to a route configuration which is not here is kept: calls through it
    are answered 404 (route_configuration_not_found).
    """

    def parsed(url: str, parse: Callable[[Reader, Extensions], T]) -> dict[str, T]:
        return {
            name: parse(Reader(data, f"{_TYPES[url]}[{name}]"), extensions)
            for name, data in resources.get(url, {}).items()
        }

    tables = parsed(name_table.TYPE_URL, name_table.parse)
    return Snapshot(
        listeners=dict(parsed(listener.TYPE_URL, listener.parse)),
        routes=dict(parsed(route_configuration.TYPE_URL, route_configuration.parse)),
        clusters=dict(parsed(cluster.TYPE_URL, cluster.parse)),
        load_assignments=dict(parsed(load_assignment.TYPE_URL, load_assignment.parse)),
        secrets=dict(parsed(secret.TYPE_URL, secret.parse)),
        name_table=next(iter(tables.values()), None),
        version=version,
    )


def reports(snapshot: Snapshot) -> Iterator[tuple[str, str, str]]:
    """What was accepted and has no effect or no code: (resource, path, why)."""
    for name, found in snapshot.listeners.items():
        if isinstance(found, Listener):
            for path, why in found.reports:
                yield f"listener {name}", path, why
