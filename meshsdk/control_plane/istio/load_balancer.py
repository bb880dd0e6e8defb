"""Load balancers of a traffic policy and of the mesh, and what istiod refuses in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from meshsdk.control_plane.istio.connection_pool import positive
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

Simple: TypeAlias = Literal["LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH"]

LOAD_BALANCER: Final = fields(
    "simple", "consistentHash", "localityLbSetting", "warmup", "warmupDurationSecs"
)
LOCALITY: Final = fields("distribute", "failover", "failoverPriority", "enabled")
_HASH: Final = fields(
    "httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName", "ringHash", "maglev",
    "minimumRingSize",
)  # fmt: skip
_COOKIE: Final = fields("name", "path", "ttl", "attributes")
_ATTRIBUTE: Final = fields("name", "value")
_RING: Final = fields("minimumRingSize")
_MAGLEV: Final = fields("tableSize")
_WARMUP: Final = fields("duration", "minimumPercent", "aggression")
_DISTRIBUTE: Final = fields("from", "to")
_FAILOVER: Final = fields("from", "to")
_SIMPLE: Final[Mapping[str, Simple]] = {
    "UNSPECIFIED": "LEAST_REQUEST",
    "LEAST_CONN": "LEAST_REQUEST",
    "LEAST_REQUEST": "LEAST_REQUEST",
    "ROUND_ROBIN": "ROUND_ROBIN",
    "RANDOM": "RANDOM",
    "PASSTHROUGH": "PASSTHROUGH",
}


@dataclass(frozen=True, slots=True)
class HashCookie:
    """A cookie that a hash is made of; with a ttl it is given where it is missing."""

    name: str
    path: str = ""
    ttl: float | None = None
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ConsistentHash:
    """What a request's endpoint depends on; one of the four."""

    header: str = ""
    cookie: HashCookie | None = None
    use_source_ip: bool = False
    query_parameter: str = ""
    minimum_ring_size: int = 1024
    """istiod's default."""
    is_maglev: bool = False
    table_size: int = 0


@dataclass(frozen=True, slots=True)
class Warmup:
    """Slow start."""

    duration: float
    minimum_percent: float | None = None
    aggression: float | None = None


@dataclass(frozen=True, slots=True)
class LocalityLb:
    """Where endpoints of other localities stand. Localities are `region/zone/subzone`."""

    is_enabled: bool = True
    distribute: tuple[tuple[str, Mapping[str, int]], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    """Region to region."""
    failover_priority: tuple[str, ...] = ()
    """Label keys, or `key=value`."""


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """How one of a cluster's endpoints is picked."""

    simple: Simple = "LEAST_REQUEST"
    consistent_hash: ConsistentHash | None = None
    locality: LocalityLb | None = None
    warmup: Warmup | None = None


def parse_load_balancer(reader: SpecReader) -> LoadBalancer:
    """A `loadBalancer`, opened with `LOAD_BALANCER`."""
    reader.one_of("simple", "consistentHash")
    found = reader.message("consistentHash", _HASH)
    locality = reader.message("localityLbSetting", LOCALITY)
    return LoadBalancer(
        reader.enum("simple", _SIMPLE, "UNSPECIFIED"),
        None if found is None else _consistent_hash(found),
        None if locality is None else parse_locality(locality),
        _warmup(reader),
    )


def parse_locality(reader: SpecReader) -> LocalityLb:
    """A `localityLbSetting`, opened with `LOCALITY`."""
    if reader.has("distribute") and (reader.has("failover") or reader.has("failoverPriority")):
        raise reader.error_at("distribute", "cannot be together with failover")
    distribute: list[tuple[str, Mapping[str, int]]] = []
    for each in reader.messages("distribute", _DISTRIBUTE):
        to = each.required_message("to", None)
        weights = {key: to.integer(key, at_least=1, at_most=100) for key in to.value}
        if sum(weights.values()) != 100:
            problem = f"expected weights that make 100, found {sum(weights.values())}"
            raise each.error_at("to", problem)
        distribute.append((each.required_string("from"), weights))
    return LocalityLb(
        reader.boolean("enabled", True),
        tuple(distribute),
        reader.each("failover", _FAILOVER, _failover),
        reader.strings("failoverPriority"),
    )


def _failover(reader: SpecReader) -> tuple[str, str]:
    source, target = reader.required_string("from"), reader.required_string("to")
    for name, region in (("from", source), ("to", target)):
        if "/" in region or "*" in region:
            raise reader.error_at(name, f"expected a region, found {region!r}")
    if source == target:
        raise reader.error(f"a region cannot fail over to itself, found {source}")
    return source, target


def _warmup(reader: SpecReader) -> Warmup | None:
    found = reader.message("warmup", _WARMUP)
    if found is None:
        duration = positive(reader, "warmupDurationSecs")
        return None if duration is None else Warmup(duration)
    duration = positive(found, "duration")
    if duration is None:
        raise found.error("expected duration, found none")
    aggression = found.number("aggression") if found.has("aggression") else None
    if aggression is not None and aggression < 1:
        raise found.error_at("aggression", f"expected at least 1, found {aggression:g}")
    percent = found.number("minimumPercent") if found.has("minimumPercent") else None
    if percent is not None and not 0 <= percent <= 100:
        raise found.error_at("minimumPercent", f"expected 0 to 100, found {percent:g}")
    return Warmup(duration, percent, aggression)


def _consistent_hash(reader: SpecReader) -> ConsistentHash:
    reader.required("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")
    reader.one_of("ringHash", "maglev")
    cookie = reader.message("httpCookie", _COOKIE)
    ring = reader.message("ringHash", _RING)
    maglev = reader.message("maglev", _MAGLEV)
    size = reader.integer("minimumRingSize", at_least=0)
    if ring is not None:
        size = ring.integer("minimumRingSize", at_least=0)
    return ConsistentHash(
        reader.string("httpHeaderName"),
        None if cookie is None else _cookie(cookie),
        reader.boolean("useSourceIp"),
        reader.string("httpQueryParameterName"),
        size or 1024,
        maglev is not None,
        0 if maglev is None else _table_size(maglev),
    )


def _table_size(reader: SpecReader) -> int:
    size = reader.integer("tableSize", at_least=0, at_most=5000011)
    if size and not _is_prime(size):
        raise reader.error_at("tableSize", f"expected a prime number, found {size}")
    return size


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % each for each in range(2, int(number**0.5) + 1))


def _cookie(reader: SpecReader) -> HashCookie:
    return HashCookie(
        reader.required_string("name"),
        reader.string("path"),
        reader.optional_duration("ttl"),
        reader.each(
            "attributes", _ATTRIBUTE, lambda each: (each.string("name"), each.string("value"))
        ),
    )
