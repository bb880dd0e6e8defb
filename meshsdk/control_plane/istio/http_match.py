"""HTTPMatchRequest: which requests a rule is for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader
from meshsdk.control_plane.istio.string_match import (
    StringMatch,
    optional_string_match,
    string_matches,
)

MESH: Final = "mesh"
"""The gateway that is all sidecars."""
CLAIMS: Final = "@request.auth.claims"
MATCH: Final = fields(
    "name", "uri", "scheme", "method", "authority", "headers", "port", "sourceLabels", "gateways",
    "queryParams", "ignoreUriCase", "withoutHeaders", "sourceNamespace", "statPrefix",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """Conditions that must all hold."""

    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: Mapping[str, StringMatch] = field(default_factory=dict[str, StringMatch])
    without_headers: Mapping[str, StringMatch] = field(default_factory=dict[str, StringMatch])
    query_params: Mapping[str, StringMatch] = field(default_factory=dict[str, StringMatch])
    port: int = 0
    """The port that was dialled; 0 is any."""
    source_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    source_namespace: str = ""
    gateways: tuple[str, ...] = ()
    """Empty: those of the VirtualService."""
    ignore_uri_case: bool = False
    stat_prefix: str = ""
    is_path_separated: bool = False
    """A prefix ends where a segment ends: as the Gateway API means it."""

    def is_for(self, gateway: str, labels: Mapping[str, str], namespace: str) -> bool:
        """What istiod decides itself: who asks. Source: istiod, sourceMatchHTTP."""
        if self.gateways:
            return gateway in self.gateways
        is_labelled = all(labels.get(key) == value for key, value in self.source_labels.items())
        return is_labelled and self.source_namespace in ("", namespace)


def parse_http_match(reader: SpecReader, namespace: str) -> HttpMatch:
    """The conditions; `namespace` is the document's."""
    match = HttpMatch(
        reader.string("name"),
        optional_string_match(reader, "uri"),
        optional_string_match(reader, "scheme"),
        optional_string_match(reader, "method"),
        optional_string_match(reader, "authority"),
        string_matches(reader, "headers"),
        string_matches(reader, "withoutHeaders"),
        string_matches(reader, "queryParams"),
        reader.integer("port", 0, at_least=1, at_most=65535),
        reader.string_map("sourceLabels"),
        reader.string("sourceNamespace"),
        tuple(gateway_name(name, namespace) for name in reader.strings("gateways")),
        reader.boolean("ignoreUriCase"),
        reader.string("statPrefix"),
    )
    if match.uri is not None and not match.uri.value:
        raise reader.error_at("uri", "expected a path that is not empty")
    return match


def gateway_name(name: str, namespace: str) -> str:
    """A gateway as `namespace/name`, or `mesh`."""
    if name == MESH:
        return name
    place, slash, rest = name.partition("/")
    if not slash:
        return f"{namespace}/{name}"
    return f"{namespace if place == '.' else place}/{rest}"
