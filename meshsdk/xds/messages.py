"""What passes between the ADS machine and the stream: plain data, no protobuf.

`wire/ads_stream.py` makes `DiscoveryResponse`s from bytes and sends `DiscoveryRequest`s; the
machine in this room makes requests from responses. Both ADS variants share the two types.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Variant: TypeAlias = Literal["delta", "sotw"]


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A field number that our descriptors do not have; the control plane is newer than we are."""

    path: str
    """The message that holds it, from the resource's root: `virtual_hosts[0].routes[2].match`.
    Empty for the resource itself."""
    message: str
    """That message's full proto name, `envoy.config.route.v3.RouteMatch`."""
    number: int
    """0 when the field has a name and no number: inside a TypedStruct."""
    name: str = ""
    """Its JSON name inside a TypedStruct; empty on the wire."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A resource in canonical proto-JSON (snake_case), with the fields that were not understood."""

    data: Mapping[str, object]
    unknown: tuple[UnknownField, ...] = ()


@dataclass(frozen=True, slots=True)
class Received:
    """One resource as it came."""

    name: str | None
    """None: the name could not be read without decoding (an unknown type in state of the world)."""
    raw: bytes
    """The exact bytes of the resource's Any value: what is hashed. Empty in delta answers that
    carry a name without a resource."""
    type_url: str
    """Of the resource itself; a server may send another type than the response announces."""
    decode: Callable[[], Decoded]
    """Called for new bytes only. ConfigError when the bytes are no such message."""
    version: str = ""
    """Delta: the resource's own version, for `initial_resource_versions`. SotW: empty."""


@dataclass(frozen=True, slots=True)
class DiscoveryResponse:
    """A push of one type, either variant."""

    type_url: str
    version: str
    """SotW `version_info`, delta `system_version_info`."""
    nonce: str
    resources: tuple[Received, ...] = ()
    removed: tuple[str, ...] = ()
    """Delta only."""
    delta: bool = True


@dataclass(frozen=True, slots=True)
class DiscoveryRequest:
    """A subscription, an ACK or a NACK. SotW uses `version` and `names`, delta uses `subscribe`,
    `unsubscribe` and `initial_resource_versions`; the stream's variant decides which are sent."""

    type_url: str
    nonce: str = ""
    """Of the response that is answered; empty for a spontaneous request."""
    version: str = ""
    """SotW: the version last accepted."""
    names: tuple[str, ...] = ()
    """SotW: the whole list of names; empty is the wildcard or, for named types, nothing."""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_resource_versions: Mapping[str, str] = field(default_factory=dict[str, str])
    """Delta, first request of a type on a stream: what we hold already."""
    error: str | None = None
    """A NACK's `error_detail` message (status INVALID_ARGUMENT); None for an ACK."""
    first: bool = False
    """The stream's first request, which carries the node."""


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The stream is over, by whichever side."""

    code: str
    """A gRPC status name, `UNAVAILABLE`; `OK` when the server ended it normally."""
    details: str = ""


StreamEvent: TypeAlias = DiscoveryResponse | StreamEnded
