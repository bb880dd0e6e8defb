"""ADS frames, both variants, to and from the plain types of `meshsdk/xds/messages.py`.

Client and server use it; neither needs generated code. Source: xds_protocol, ads.proto.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from google.protobuf.message import Message

from meshsdk.wire.json_form import decode, from_json, to_json
from meshsdk.wire.pool import full_name, message_class, parse_message
from meshsdk.wire.resource_name import peek_name
from meshsdk.xds.messages import DiscoveryRequest, DiscoveryResponse, Received, Variant

SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHODS: Final[Mapping[Variant, str]] = {
    "delta": "DeltaAggregatedResources",
    "sotw": "StreamAggregatedResources",
}
NODE: Final = "envoy.config.core.v3.Node"
INVALID_ARGUMENT: Final = 3  # google.rpc.Code, the code of a NACK's error_detail

_REQUESTS: Final[Mapping[Variant, str]] = {
    "delta": "envoy.service.discovery.v3.DeltaDiscoveryRequest",
    "sotw": "envoy.service.discovery.v3.DiscoveryRequest",
}
_RESPONSES: Final[Mapping[Variant, str]] = {
    "delta": "envoy.service.discovery.v3.DeltaDiscoveryResponse",
    "sotw": "envoy.service.discovery.v3.DiscoveryResponse",
}
_RESOURCE: Final = "envoy.service.discovery.v3.Resource"


# -- the client's half -------------------------------------------------------------------------


def encode_request(request: DiscoveryRequest, variant: Variant, node: Message | None) -> bytes:
    """A request's bytes; `node` (a `config.core.v3.Node`) goes into the first one only."""
    message: Any = message_class(_REQUESTS[variant])()
    message.type_url = request.type_url
    message.response_nonce = request.nonce
    if request.first and node is not None:
        message.node.CopyFrom(node)
    if request.error is not None:
        message.error_detail.code = INVALID_ARGUMENT
        message.error_detail.message = request.error
    if variant == "delta":
        message.resource_names_subscribe.extend(request.subscribe)
        message.resource_names_unsubscribe.extend(request.unsubscribe)
        message.initial_resource_versions.update(request.initial_resource_versions)
    else:
        message.version_info = request.version
        message.resource_names.extend(request.names)
    return bytes(message.SerializeToString())


def decode_response(raw: bytes, variant: Variant) -> DiscoveryResponse:
    """A response; its resources are decoded when asked for. ConfigError: these bytes are none."""
    message: Any = parse_message(_RESPONSES[variant], raw)
    if variant == "delta":
        return DiscoveryResponse(
            type_url=message.type_url,
            version=message.system_version_info,
            nonce=message.nonce,
            resources=tuple(_wrapped(resource) for resource in message.resources),
            removed=tuple(message.removed_resources),
            delta=True,
        )
    return DiscoveryResponse(
        type_url=message.type_url,
        version=message.version_info,
        nonce=message.nonce,
        resources=tuple(_bare(resource) for resource in message.resources),
        delta=False,
    )


def _bare(resource: Any) -> Received:
    """A resource of a state-of-the-world response: an Any, or a Resource within an Any."""
    type_url, raw = resource.type_url, resource.value
    if full_name(type_url) == _RESOURCE:
        return _wrapped(parse_message(_RESOURCE, raw))
    return Received(
        peek_name(full_name(type_url), raw), raw, type_url, partial(decode, type_url, raw)
    )


def _wrapped(wrapper: Any) -> Received:
    type_url, raw = wrapper.resource.type_url, wrapper.resource.value
    name = wrapper.name or peek_name(full_name(type_url), raw) or ""
    return Received(name, raw, type_url, partial(decode, type_url, raw), wrapper.version)


# -- the server's half -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """A request as a server sees it."""

    request: DiscoveryRequest
    """`first` is set when it carries a node."""
    node: Mapping[str, object] | None
    """`config.core.v3.Node` in canonical proto-JSON."""


@dataclass(frozen=True, slots=True)
class EncodedResource:
    """A resource that is ready to be sent."""

    name: str
    type_url: str
    raw: bytes
    """The Any's value."""
    version: str = ""


def encode_resource(type_url: str, data: Mapping[str, object]) -> bytes:
    """The Any value of a resource in proto-JSON, the same bytes for equal data. ConfigError names
    the path of what does not fit."""
    return bytes(from_json(type_url, data).SerializeToString(deterministic=True))


def encode_response(
    variant: Variant,
    type_url: str,
    *,
    version: str,
    nonce: str,
    resources: Iterable[EncodedResource],
    removed: Iterable[str] = (),
) -> bytes:
    """A response's bytes. `removed` has a meaning in delta only."""
    message: Any = message_class(_RESPONSES[variant])()
    message.type_url = type_url
    message.nonce = nonce
    if variant == "delta":
        message.system_version_info = version
        message.removed_resources.extend(removed)
    else:
        message.version_info = version
    for resource in resources:
        item = message.resources.add()
        if variant == "delta":
            item.name, item.version = resource.name, resource.version
            item = item.resource
        item.type_url, item.value = resource.type_url, resource.raw
    return bytes(message.SerializeToString())


def decode_request(raw: bytes, variant: Variant) -> NodeRequest:
    """A client's request. ConfigError: these bytes are none."""
    message: Any = parse_message(_REQUESTS[variant], raw)
    has_node = message.HasField("node")
    is_delta = variant == "delta"
    request = DiscoveryRequest(
        type_url=message.type_url,
        nonce=message.response_nonce,
        version="" if is_delta else message.version_info,
        names=() if is_delta else tuple(message.resource_names),
        subscribe=tuple(message.resource_names_subscribe) if is_delta else (),
        unsubscribe=tuple(message.resource_names_unsubscribe) if is_delta else (),
        initial_resource_versions=dict(message.initial_resource_versions) if is_delta else {},
        error=message.error_detail.message if message.HasField("error_detail") else None,
        first=has_node,
    )
    return NodeRequest(request, to_json(message.node) if has_node else None)
