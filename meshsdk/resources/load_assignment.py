"""ClusterLoadAssignment: the endpoints of a cluster (EDS).

The messages are many (one endpoint is the unit of volume of a whole feed), so the loop over
endpoints looks at plain mappings and makes a `Reader` only where something is wrong or rare.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from meshsdk.call.address import Address
from meshsdk.call.endpoint import NO_LOCALITY, NO_METADATA, Endpoint, HealthStatus, Locality
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built
from meshsdk.config.reader import Reader
from meshsdk.resources.address import ADDRESS, SOCKET_ADDRESS, is_ip, parse_address

TYPE_URL: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
DEFAULT_OVERPROVISIONING: Final = 140
_MAX_WEIGHT: Final = 0xFFFFFFFF
_MAX_PRIORITY: Final = 128
_HEALTH: Final = {status.name: status for status in HealthStatus}
_DENOMINATORS: Final = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}

_ASSIGNMENT: Final = MessageTable(
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    honoured("cluster_name", "endpoints", "policy", "named_endpoints"),
)
_POLICY: Final = MessageTable(
    "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy",
    honoured("overprovisioning_factor", "weighted_priority_health", "drop_overloads")
    | {
        "endpoint_stale_after": not_built("endpoints that expire by themselves"),
    },
)
_LOCALITY_ENDPOINTS: Final = MessageTable(
    "envoy.config.endpoint.v3.LocalityLbEndpoints",
    honoured("locality", "lb_endpoints", "load_balancing_weight", "priority")
    | {
        "load_balancer_endpoints": not_built("endpoint lists outside lb_endpoints"),
        "leds_cluster_locality_config": not_built("locality endpoint discovery (LEDS)"),
        "proximity": ignored("Envoy does not use it either"),
        "metadata": ignored("locality metadata reaches no decision of ours"),
    },
)
_LB_ENDPOINT: Final = MessageTable(
    "envoy.config.endpoint.v3.LbEndpoint",
    honoured("endpoint", "endpoint_name", "health_status", "metadata", "load_balancing_weight"),
)
_ENDPOINT: Final = MessageTable(
    "envoy.config.endpoint.v3.Endpoint",
    honoured("address", "hostname")
    | {
        "observability_name": ignored("telemetry"),
        "health_check_config": ignored("per-endpoint settings of active health checks"),
        "additional_addresses": ignored("happy eyeballs: the first address is dialled"),
    },
)
TABLES: Final = (
    _ASSIGNMENT,
    _POLICY,
    _LOCALITY_ENDPOINTS,
    _LB_ENDPOINT,
    _ENDPOINT,
    ADDRESS,
    SOCKET_ADDRESS,
)


@dataclass(frozen=True, slots=True)
class DropOverload:
    """A share of calls that is refused before a host is chosen: `numerator / denominator`."""

    category: str
    numerator: int
    denominator: int

    @property
    def is_unconditional(self) -> bool:
        """All of them."""
        return self.numerator >= self.denominator


@dataclass(frozen=True, slots=True)
class LoadAssignment:
    """The endpoints of one cluster, every priority and locality in one flat list."""

    cluster_name: str
    endpoints: tuple[Endpoint, ...] = ()
    overprovisioning_factor: int = DEFAULT_OVERPROVISIONING
    """Percent."""
    weighted_priority_health: bool = False
    drop_overload: DropOverload | None = None
    not_built: tuple[str, ...] = ()


def parse(
    reader: Reader, extensions: Extensions, *, is_static: bool = False, allows_names: bool = False
) -> LoadAssignment:
    """The load assignment in a message.

    `is_static`: inline in a STATIC cluster, where Envoy keeps an address that is listed twice;
    elsewhere the first one stays. `allows_names`: host names may stand for addresses (DNS clusters).
    """
    del extensions
    missing = list(check(reader, _ASSIGNMENT))
    name = reader.required_string("cluster_name")
    walk = _Walk(reader, missing, allows_names=allows_names, keeps_duplicates=is_static)
    for group in reader.messages("endpoints"):
        walk.locality(group)
    walk.check_locality_weights()
    policy = reader.message("policy")
    if policy is None:
        return LoadAssignment(name, tuple(walk.endpoints), not_built=tuple(missing))
    missing.extend(check(policy, _POLICY))
    return LoadAssignment(
        name,
        tuple(walk.endpoints),
        _overprovisioning(policy),
        policy.boolean("weighted_priority_health"),
        _drop_overload(policy),
        tuple(missing),
    )


def _overprovisioning(policy: Reader) -> int:
    return policy.integer("overprovisioning_factor", DEFAULT_OVERPROVISIONING, at_least=1)


def _drop_overload(policy: Reader) -> DropOverload | None:
    drops = policy.messages("drop_overloads")
    if len(drops) > 1:
        raise policy.error_at(
            "drop_overloads", f"expected at most one category, found {len(drops)}"
        )
    return next(map(_drop, drops), None)


def _drop(reader: Reader) -> DropOverload:
    share = reader.required_message("drop_percentage")
    denominator = share.enum("denominator", _DENOMINATORS, "HUNDRED")
    return DropOverload(
        reader.required_string("category"),
        share.integer("numerator", at_least=0, at_most=denominator),
        denominator,
    )


class _Walk:
    """Collects the endpoints of one load assignment and what must hold across them."""

    def __init__(
        self, reader: Reader, missing: list[str], *, allows_names: bool, keeps_duplicates: bool
    ) -> None:
        self.reader = reader
        self.missing = missing
        self.allows_names = allows_names
        self.keeps_duplicates = keeps_duplicates
        self.endpoints: list[Endpoint] = []
        self.seen: set[Address] = set()
        self.locality_weights: dict[tuple[int, Locality], int] = {}

    def locality(self, group: Reader) -> None:
        """Add the endpoints of one LocalityLbEndpoints; there may be none."""
        self.missing.extend(check(group, _LOCALITY_ENDPOINTS))
        priority = group.integer("priority", at_least=0, at_most=_MAX_PRIORITY)
        locality = _locality(group.message("locality"))
        weight = _weight(group, 0)
        if not group.has("locality"):
            weight = 0  # Envoy keeps locality weights by locality; without one there is none.
        self.locality_weights[priority, locality] = weight
        total = 0
        careful: tuple[Reader, ...] | None = None
        plain = group.plain("lb_endpoints")
        items = cast("list[object]", plain) if isinstance(plain, list) else []
        for index, item in enumerate(items):
            endpoint = _usual_endpoint(item, priority, locality, weight)
            if endpoint is None:
                careful = careful or group.messages("lb_endpoints")
                endpoint = self.endpoint(careful[index], priority, locality, weight)
            if endpoint is None:
                continue
            total += endpoint.weight
            if self.keeps_duplicates or endpoint.address not in self.seen:
                self.seen.add(endpoint.address)
                self.endpoints.append(endpoint)
        if total > _MAX_WEIGHT:
            raise group.error_at(
                "lb_endpoints", f"expected weights that sum to at most {_MAX_WEIGHT}, found {total}"
            )

    def endpoint(
        self, item: Reader, priority: int, locality: Locality, locality_weight: int
    ) -> Endpoint | None:
        """One endpoint; None when its address is of a kind that is not built."""
        self.missing.extend(check(item, _LB_ENDPOINT))
        named = item.one_of("endpoint", "endpoint_name")
        body = item.required_message("endpoint") if named != "endpoint_name" else self.named(item)
        self.missing.extend(check(body, _ENDPOINT))
        address = self.address(body)
        if address is None:
            return None
        return Endpoint(
            address,
            body.string("hostname"),
            _weight(item, 1),
            priority,
            locality,
            locality_weight,
            item.enum("health_status", _HEALTH, "UNKNOWN"),
            _filter_metadata(item),
        )

    def named(self, item: Reader) -> Reader:
        """What `endpoint_name` refers to."""
        name = item.required_string("endpoint_name")
        for key, found in self.reader.entries("named_endpoints"):
            if key == name:
                return found
        raise item.error_at("endpoint_name", f"expected one of named_endpoints, found {name!r}")

    def address(self, body: Reader) -> Address | None:
        """The endpoint's address, an IP address unless names are allowed."""
        holder = body.required_message("address")
        address = parse_address(holder)
        if address is None:
            self.missing.append(f"{holder.path}.envoy_internal_address")
            return None
        is_pipe = not address.port and address.host.startswith("/")
        if not (is_pipe or self.allows_names or is_ip(address.host)):
            raise holder.error_at(
                "socket_address.address", f"expected an IP address, found {address.host!r}"
            )
        return address

    def check_locality_weights(self) -> None:
        """The weights of one priority's localities must fit into 32 bits."""
        totals: dict[int, int] = {}
        for (priority, _), weight in self.locality_weights.items():
            totals[priority] = totals.get(priority, 0) + weight
        for priority, total in totals.items():
            if total > _MAX_WEIGHT:
                raise self.reader.error_at(
                    "endpoints",
                    f"expected locality weights of priority {priority} that sum to at most"
                    f" {_MAX_WEIGHT}, found {total}",
                )


_USUAL_FIELDS: Final = frozenset({"endpoint", "metadata", "load_balancing_weight", "health_status"})
_USUAL_BODY: Final = frozenset({"address", "hostname"})


def _usual_endpoint(
    item: object, priority: int, locality: Locality, locality_weight: int
) -> Endpoint | None:
    """An endpoint of the shape that nearly all have; None: read it with care.

    Four times as fast as the careful way, which says what is wrong where something is.
    """
    if not isinstance(item, dict):
        return None
    fields = cast("dict[str, object]", item)
    body = fields.get("endpoint")
    if not isinstance(body, dict) or not fields.keys() <= _USUAL_FIELDS:
        return None
    body = cast("dict[str, object]", body)
    address = _usual_address(body.get("address"))
    weight = fields.get("load_balancing_weight", 1)
    health = _HEALTH.get(cast("str", fields.get("health_status", "UNKNOWN")))
    hostname = body.get("hostname", "")
    metadata = _usual_metadata(fields.get("metadata"))
    if (
        address is None
        or health is None
        or metadata is None
        or type(weight) is not int
        or not 1 <= weight <= _MAX_WEIGHT
        or not isinstance(hostname, str)
        or not body.keys() <= _USUAL_BODY
    ):
        return None
    return Endpoint(
        address, hostname, weight, priority, locality, locality_weight, health, metadata
    )


def _usual_address(holder: object) -> Address | None:
    if not isinstance(holder, dict) or len(cast("dict[str, object]", holder)) != 1:
        return None
    socket = cast("dict[str, object]", holder).get("socket_address")
    if not isinstance(socket, dict) or len(cast("dict[str, object]", socket)) != 2:
        return None
    found = cast("dict[str, object]", socket)
    host, port = found.get("address"), found.get("port_value")
    if not isinstance(host, str) or type(port) is not int:
        return None
    return Address(host, port) if 0 <= port <= 65535 and is_ip(host) else None


def _usual_metadata(found: object) -> Mapping[str, Mapping[str, object]] | None:
    if found is None:
        return NO_METADATA
    if not isinstance(found, dict) or len(cast("dict[str, object]", found)) != 1:
        return None
    labels = cast("dict[str, object]", found).get("filter_metadata")
    if not isinstance(labels, dict):
        return None
    return cast("Mapping[str, Mapping[str, object]]", labels)


def _weight(reader: Reader, default: int) -> int:
    if not reader.has("load_balancing_weight"):
        return default
    return reader.integer("load_balancing_weight", at_least=1, at_most=_MAX_WEIGHT)


def _locality(reader: Reader | None) -> Locality:
    if reader is None or not reader.value:
        return NO_LOCALITY
    return Locality(reader.string("region"), reader.string("zone"), reader.string("sub_zone"))


def _filter_metadata(reader: Reader) -> Mapping[str, Mapping[str, object]]:
    metadata = reader.message("metadata")
    if metadata is None:
        return NO_METADATA
    return cast("Mapping[str, Mapping[str, object]]", metadata.struct("filter_metadata"))
