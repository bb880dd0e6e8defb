"""HttpConnectionManager.Tracing: what is sampled, and what spans say besides.

Spans go wherever the application's OpenTelemetry SDK sends them; the feed's provider only says that
its sampling counts. Source: Envoy, ConnectionManagerUtility::mutateTracingRequestHeader.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import lower, octets
from meshsdk.telemetry.seen_call import SeenCall

_CALLERS: Final = "spans go where the application's OpenTelemetry SDK sends them"
TRACING: Final = MessageTable(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing",
    {
        **honoured("random_sampling", "overall_sampling", "provider", "custom_tags"),
        "client_sampling": ignored("a caller that samples is followed"),
        "spawn_upstream_span": ignored("every attempt has a span"),
        "verbose": ignored(_CALLERS),
        "max_path_tag_length": ignored(_CALLERS),
        "operation": ignored("names are OpenTelemetry's"),
        "upstream_operation": ignored("names are OpenTelemetry's"),
        "no_context_propagation": ignored("context is propagated, see Options"),
    },
)
_CUSTOM_TAG: Final = MessageTable(
    "envoy.type.tracing.v3.CustomTag",
    {
        **honoured("tag", "literal", "request_header", "metadata"),
        "environment": ignored("the environment is not read for the control plane"),
        "value": ignored("formats in tags"),
        "value_type": ignored("values are text"),
    },
)
TABLES: Final = (TRACING, _CUSTOM_TAG)

Tag: TypeAlias = Callable[[SeenCall], str | None]


@dataclass(frozen=True, slots=True)
class Tracing:
    """What the feed says of spans."""

    sampled: float | None = None
    """The share of traces that begin here, in [0, 1]; None: the SDK's own sampler decides alone."""
    tags: tuple[tuple[str, Tag], ...] = ()


NO_TRACING: Final = Tracing()


def parse_tracing(reader: Reader) -> Tracing:
    """The message."""
    check(reader, TRACING)
    sampled = None
    if reader.message("provider") is not None:
        sampled = _share(reader, "random_sampling") * _share(reader, "overall_sampling")
    tags = [_tag(one) for one in reader.messages("custom_tags")]
    return Tracing(sampled, tuple(tag for tag in tags if tag is not None))


def _share(reader: Reader, name: str) -> float:
    percent = reader.message(name)
    value = 100.0 if percent is None else percent.number("value")
    return min(max(value / 100, 0.0), 1.0)


def _tag(reader: Reader) -> tuple[str, Tag] | None:
    check(reader, _CUSTOM_TAG)
    name = reader.required_string("tag")
    literal, header = reader.message("literal"), reader.message("request_header")
    metadata = reader.message("metadata")
    if literal is not None:
        text = literal.string("value")
        return name, lambda call: text
    if header is not None:
        field, default = lower(octets(header.string("name"))), header.string("default_value")
        return name, lambda call: _field(call, field) or default or None
    if metadata is not None and _is_of_request(metadata):
        path = _path(metadata.message("metadata_key"))
        otherwise = metadata.string("default_value")
        return name, lambda call: _value(call, path) or otherwise or None
    return None


def _field(call: SeenCall, name: str) -> str | None:
    found = (call.context.forwarded or call.request).field(name)
    return found[0] if found else None


def _is_of_request(reader: Reader) -> bool:
    kind = reader.message("kind")
    return kind is None or kind.has("request")


def _path(key: Reader | None) -> tuple[str, ...]:
    if key is None:
        return ()
    return (key.string("key"), *(one.string("key") for one in key.messages("path")))


def _value(call: SeenCall, path: tuple[str, ...]) -> str | None:
    found: object = call.context.dynamic_metadata
    for key in path:
        if not isinstance(found, Mapping):
            return None
        found = cast("Mapping[str, object]", found).get(key)
    return None if found is None else str(found)
