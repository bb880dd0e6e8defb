"""Extension providers of the MeshConfig: services outside that policies and telemetry name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshsdk.control_plane.istio.ext_authz_provider import ExtAuthz, parse_ext_authz
from meshsdk.control_plane.istio.spec_fields import Fields, fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

_EXT_AUTHZ: Final = ("envoyExtAuthzHttp", "envoyExtAuthzGrpc")
_SERVICE: Final = ("service", "port")
_HTTP_SERVICE: Final = fields("path", "timeout", "headers")
_FORMAT: Final = fields("text", "labels")
# Source: istio.mesh.v1alpha1, MeshConfig.ExtensionProvider.
_TYPES: Final[Mapping[str, Fields]] = {
    "zipkin": fields(
        *_SERVICE, "maxTagLength", "enable64bitTraceId", "path", "timeout", "headers",
        "traceContextOption",
    ),
    "lightstep": fields(*_SERVICE, "accessToken", "maxTagLength"),
    "datadog": fields(*_SERVICE, "maxTagLength"),
    "stackdriver": fields(
        "debug", "maxNumberOfAttributes", "maxNumberOfAnnotations", "maxNumberOfMessageEvents",
        "maxTagLength", "logging",
    ),
    "opencensus": fields(*_SERVICE, "context", "maxTagLength"),
    "skywalking": fields(*_SERVICE, "accessToken"),
    "opentelemetry": fields(
        *_SERVICE, "maxTagLength", "http", "grpc", "resourceDetectors", "dynatraceSampler",
    ),
    "prometheus": fields(),
    "envoyFileAccessLog": fields("path", "logFormat", "omitEmptyValues"),
    "envoyHttpAls": fields(
        *_SERVICE, "logName", "filterStateObjectsToLog", "additionalRequestHeadersToLog",
        "additionalResponseHeadersToLog", "additionalResponseTrailersToLog",
    ),
    "envoyTcpAls": fields(*_SERVICE, "logName", "filterStateObjectsToLog"),
    "envoyOtelAls": fields(*_SERVICE, "logName", "logFormat"),
    "sds": fields("name", *_SERVICE),
}  # fmt: skip
_INSIDE: Final[Mapping[str, Fields]] = {
    "logFormat": _FORMAT,
    "http": _HTTP_SERVICE,
    "grpc": fields("timeout", "initialMetadata"),
    "resourceDetectors": fields("environment", "dynatrace"),
    "dynatraceSampler": fields("tenant", "clusterId", "rootSpansPerMinute", "httpService"),
    "logging": fields("labels"),
}
_PROVIDER: Final = fields("name", *_EXT_AUTHZ, *_TYPES)


@dataclass(frozen=True, slots=True)
class ExtensionProvider:
    """A provider. Who uses it reads `settings`, or `ext_authz`."""

    name: str
    type: str
    """`envoyExtAuthzGrpc`, `envoyFileAccessLog` ..."""
    ext_authz: ExtAuthz | None = None
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    """The provider's message as it was written, names checked, types not."""


def parse_extension_providers(mesh: SpecReader) -> tuple[ExtensionProvider, ...]:
    """`extensionProviders` of a MeshConfig; SpecError for what istiod would refuse."""
    found = mesh.each("extensionProviders", _PROVIDER, _provider)
    names = [each.name for each in found]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise mesh.error_at("extensionProviders", f"the name {name} is there twice", i)
    return found


def _provider(reader: SpecReader) -> ExtensionProvider:
    name = reader.required_string("name")
    kind = reader.required(*_EXT_AUTHZ, *_TYPES)
    known = _TYPES.get(kind)
    settings = reader.required_message(kind, known)
    plain = {key: item.plain() for key, item in settings.value.items()}
    if known is not None:
        for inside, inner in _INSIDE.items():
            if inside in known.every:
                settings.message(inside, inner)
        return ExtensionProvider(name, kind, None, plain)
    parsed = parse_ext_authz(reader, kind)
    if parsed.problem is not None:
        raise reader.error_at(kind, parsed.problem)
    return ExtensionProvider(name, kind, parsed, plain)
