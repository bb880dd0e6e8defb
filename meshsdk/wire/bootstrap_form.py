"""Files that hold a whole configuration, as resources by type and name in canonical form.

Three shapes: an Envoy bootstrap, an Envoy config dump (`/config_dump`, `istioctl proxy-config`),
and a recorded state, `{"CDS": {name: resource}, ...}`. An unknown field is a ConfigError.
"""

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias, cast

from meshsdk.errors import ConfigError
from meshsdk.wire.expect import mapping, sequence
from meshsdk.wire.json_form import normalize
from meshsdk.wire.paths import join
from meshsdk.wire.pool import full_name, type_url

Resources: TypeAlias = dict[str, dict[str, dict[str, object]]]
"""Type URL to resource name to resource."""

BOOTSTRAP: Final = "envoy.config.bootstrap.v3.Bootstrap"
LISTENER: Final = "envoy.config.listener.v3.Listener"
CLUSTER: Final = "envoy.config.cluster.v3.Cluster"
ROUTE_CONFIGURATION: Final = "envoy.config.route.v3.RouteConfiguration"
LOAD_ASSIGNMENT: Final = "envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET: Final = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type
EXTENSION_CONFIG: Final = "envoy.config.core.v3.TypedExtensionConfig"
NAME_TABLE: Final = "istio.networking.nds.v1.NameTable"
PROXY_CONFIG: Final = "istio.mesh.v1alpha1.ProxyConfig"

SHORT_NAMES: Final[Mapping[str, str]] = {
    "LDS": LISTENER,
    "RDS": ROUTE_CONFIGURATION,
    "CDS": CLUSTER,
    "EDS": LOAD_ASSIGNMENT,
    "SDS": SECRET,
    "ECDS": EXTENSION_CONFIG,
    "NDS": NAME_TABLE,
    "PCDS": PROXY_CONFIG,
}
_STATIC: Final = {"listeners": LISTENER, "clusters": CLUSTER, "secrets": SECRET}
_BESIDE: Final = {"route_configurations": ROUTE_CONFIGURATION, "endpoints": LOAD_ASSIGNMENT}
# Config dump: list, the object's field that holds the resource, its type. Inline route
# configurations (static_route_configs) are not listed: their listeners have them.
_DUMPED: Final = (
    ("static_listeners", "listener", LISTENER),
    ("dynamic_listeners", "active_state.listener", LISTENER),
    ("static_clusters", "cluster", CLUSTER),
    ("dynamic_active_clusters", "cluster", CLUSTER),
    ("dynamic_route_configs", "route_config", ROUTE_CONFIGURATION),
    ("static_endpoint_configs", "endpoint_config", LOAD_ASSIGNMENT),
    ("dynamic_endpoint_configs", "endpoint_config", LOAD_ASSIGNMENT),
    ("static_secrets", "secret", SECRET),
    ("dynamic_active_secrets", "secret", SECRET),
    ("ecds_filters", "ecds_filter", EXTENSION_CONFIG),
)


def read_resources(data: object, path: str = "") -> Resources:
    """The resources of a file of any of the three shapes."""
    keys = set(mapping(data, path, "a bootstrap, a config dump or a recorded state"))
    if "configs" in keys:
        return config_dump(data, path)
    if keys & set(SHORT_NAMES):
        return recorded_state(data, path)
    return static_resources(data, path)


def static_resources(data: object, path: str = "") -> Resources:
    """The resources of an Envoy bootstrap: `static_resources: {listeners, clusters, secrets}`.

    Two more keys stand beside `static_resources`, for a mesh that has no control plane at all:
    `route_configurations` and `endpoints`, lists of what RDS and EDS would send. All other keys
    are those of `envoy.config.bootstrap.v3.Bootstrap`; they are checked, and not returned.
    A listener without a name is named by its place, `listeners[0]`.
    """
    fields = mapping(data, path, "a bootstrap")
    own = {key: value for key, value in fields.items() if key not in _BESIDE}
    bootstrap = normalize(BOOTSTRAP, own, path)
    resources: Resources = {}
    static = cast("Mapping[str, object]", bootstrap.get("static_resources", {}))
    for key, message in _STATIC.items():
        items = cast("list[dict[str, object]]", static.get(key, []))
        for i, item in enumerate(items):
            if message == LISTENER and not item.get("name"):
                item["name"] = f"{key}[{i}]"
            _add(resources, message, item, join(path, f"static_resources.{key}[{i}]"))
    for key, message in _BESIDE.items():
        at = join(path, key)
        for i, written in enumerate(sequence(fields.get(key) or (), at)):
            _add(resources, message, normalize(message, written, f"{at}[{i}]"), f"{at}[{i}]")
    return resources


def recorded_state(data: object, path: str = "") -> Resources:
    """The resources of a recorded state; its names are kept, also where the resource has none."""
    resources: Resources = {}
    for short, named in mapping(data, path, "a recorded state").items():
        message = SHORT_NAMES.get(short) if isinstance(short, str) else None
        if message is None:
            raise ConfigError(path, f"expected {', '.join(SHORT_NAMES)}, found {short!r}")
        at = join(path, str(short))
        resources[type_url(message)] = {
            str(name): normalize(message, resource, f"{at}[{name}]")
            for name, resource in mapping(named, at, "resources by name").items()
        }
    return resources


def config_dump(data: object, path: str = "") -> Resources:
    """The resources in force in an Envoy config dump; warming and refused ones are left out."""
    dump = normalize("envoy.admin.v3.ConfigDump", data, path)
    resources: Resources = {}
    for i, config in enumerate(cast("list[dict[str, object]]", dump.get("configs", []))):
        for at, message, resource in _dumped(config, join(path, f"configs[{i}]")):
            _add(resources, message, resource, at)
    return resources


def _dumped(
    config: Mapping[str, object], path: str
) -> Iterator[tuple[str, str, dict[str, object]]]:
    for key, place, message in _DUMPED:
        for i, item in enumerate(cast("list[dict[str, object]]", config.get(key, []))):
            found = item
            for step in place.split("."):
                found = cast("dict[str, object]", found.get(step, {}))
            resource = dict(found)
            at = f"{path}.{key}[{i}].{place}"
            url = resource.pop("@type", None)
            if url is None:
                continue  # a listener that is only warming, or was refused
            if full_name(str(url)) != message:
                raise ConfigError(at, f"expected a {message}, found {url}")
            yield at, message, resource


def _add(resources: Resources, message: str, resource: dict[str, object], path: str) -> None:
    name = str(resource.get("cluster_name" if message == LOAD_ASSIGNMENT else "name", ""))
    named = resources.setdefault(type_url(message), {})
    if name in named:
        raise ConfigError(path, f"expected each name once, found '{name}' again")
    named[name] = resource
