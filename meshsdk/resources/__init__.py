"""The index of xDS resource types, and the tables of every message that they are made of."""

from typing import Final

from meshsdk.config.fields import MessageTable
from meshsdk.errors import ConfigError
from meshsdk.resources import (
    cluster,
    cluster_fields,
    extension_config,
    listener,
    load_assignment,
    name_table,
    references,
    route_configuration,
    secret,
    tls_fields,
)
from meshsdk.resources.cluster import Cluster
from meshsdk.resources.extension_config import ExtensionConfig
from meshsdk.resources.listener import Listener
from meshsdk.resources.load_assignment import LoadAssignment
from meshsdk.resources.resource_type import ResourceType
from meshsdk.resources.route_configuration import RouteConfiguration


def _missing(value: object) -> tuple[tuple[str, str], ...]:
    """What a resource sets that has no code yet."""
    assert isinstance(value, Cluster | LoadAssignment | RouteConfiguration)
    return tuple((path, "not built") for path in value.not_built)


def _of_listener(value: object) -> tuple[tuple[str, str], ...]:
    assert isinstance(value, Listener)
    return value.reports


def _of_extension_config(value: object) -> tuple[tuple[str, str], ...]:
    assert isinstance(value, ExtensionConfig)
    if not value.is_unknown:
        return ()
    return (("typed_extension_config.typed_config", f"skipped: no filter takes {value.type_url}"),)


def _check_listener_update(previous: object, new: object) -> ConfigError | None:
    assert isinstance(previous, Listener)
    assert isinstance(new, Listener)
    return listener.check_update(previous, new)


LISTENER: Final = ResourceType(
    "LDS",
    listener.TYPE_URL,
    "listener",
    listener.parse,
    listener.TABLES,
    references.of_listener,
    _check_listener_update,
    _of_listener,
    is_full=True,
)
ROUTE_CONFIGURATION: Final = ResourceType(
    "RDS",
    route_configuration.TYPE_URL,
    "route_configuration",
    route_configuration.parse,
    route_configuration.TABLES,
    references.of_route_configuration,
    reports=_missing,
)
CLUSTER: Final = ResourceType(
    "CDS",
    cluster.TYPE_URL,
    "cluster",
    cluster.parse,
    cluster_fields.TABLES,
    references.of_cluster,
    reports=_missing,
    is_full=True,
)
LOAD_ASSIGNMENT: Final = ResourceType(
    "EDS",
    load_assignment.TYPE_URL,
    "cluster_load_assignment",
    load_assignment.parse,
    load_assignment.TABLES,
    reports=_missing,
)
SECRET: Final = ResourceType(
    "SDS", secret.TYPE_URL, "secret", secret.parse, (*secret.TABLES, *tls_fields.TABLES)
)
EXTENSION_CONFIG: Final = ResourceType(
    "ECDS",
    extension_config.TYPE_URL,
    "typed_extension_config",
    extension_config.parse,
    extension_config.TABLES,
    reports=_of_extension_config,
)
NAME_TABLE: Final = ResourceType(
    "NDS", name_table.TYPE_URL, "name_table", name_table.parse, name_table.TABLES
)

RESOURCE_TYPES: Final = (
    LISTENER,
    ROUTE_CONFIGURATION,
    CLUSTER,
    LOAD_ASSIGNMENT,
    SECRET,
    EXTENSION_CONFIG,
    NAME_TABLE,
)
TABLES: Final[tuple[MessageTable, ...]] = tuple(
    {id(table): table for kind in RESOURCE_TYPES for table in kind.tables}.values()
)
"""What becomes of each field, by message; each table once."""
