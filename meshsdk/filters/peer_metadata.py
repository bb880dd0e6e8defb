"""Istio's peer metadata filter: workloads tell each other who they are, for telemetry alone.

The fields prove nothing and decide nothing; they end here, so the application never sees them.
Source: istio/proxy, source/extensions/filters/http/peer_metadata.
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.filter import Continue, OnResponse, Verdict
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Response
from meshsdk.config.extension import Extensions, HttpFilterExtension
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader

METADATA: Final = "x-envoy-peer-metadata"
METADATA_ID: Final = "x-envoy-peer-metadata-id"
_FIELDS: Final = frozenset({METADATA, METADATA_ID})
DOWNSTREAM_PEER: Final = "downstream_peer"
UPSTREAM_PEER: Final = "upstream_peer"
"""Keys of the filter state under which a peer's own text is kept."""
LARGEST: Final = 8192
"""Octets of such a text; a peer may send anything, and what it says is remembered."""
TABLE: Final = MessageTable(
    "io.istio.http.peer_metadata.Config",
    {
        **honoured(
            "downstream_discovery",
            "upstream_discovery",
            "downstream_propagation",
            "upstream_propagation",
        ),
        "shared_with_upstream": ignored("there is no upstream filter that reads it"),
        "additional_labels": ignored("the usual labels are sent"),
    },
)
_METHOD: Final = MessageTable(
    "io.istio.http.peer_metadata.Config.DiscoveryMethod",
    {
        **honoured("istio_headers"),
        "workload_discovery": ignored("for waypoints and ztunnels"),
        "baggage": ignored("for waypoints and ztunnels"),
    },
)
_SKIPS: Final = "skip_external_clusters"
_HEADERS: Final = MessageTable(
    "io.istio.http.peer_metadata.Config.IstioHeaders",
    {_SKIPS: ignored("nothing is said at all then: which clusters are external is not known here")},
)
TABLES: Final = (TABLE, _METHOD, _HEADERS)


@dataclass(frozen=True, slots=True)
class PeerMetadata:
    """Which of the four ways are open."""

    ours: tuple[tuple[str, str], ...]
    """Both fields with what we say of ourselves; empty where we are nobody."""
    from_downstream: bool = False
    from_upstream: bool = False
    to_downstream: bool = False
    """Answered only to a peer that told us of itself."""
    to_upstream: bool = False

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        """Read and take away what a caller says of itself; say who we are."""
        headers, asked = request.headers, False
        if (self.from_downstream or self.to_upstream) and headers.has_any(_FIELDS):
            asked = True
            if self.from_downstream:
                _keep(headers, context, DOWNSTREAM_PEER)
            headers = headers.without(METADATA, METADATA_ID)
        if self.to_upstream:
            headers = headers.exchanged("", self.ours)
        if headers is not request.headers:
            request = request.with_headers(headers)
        then: OnResponse | None = self._read_answer if self.from_upstream else None
        if asked and self.to_downstream:
            then = self._answer
        return Continue(request, then)

    def _read_answer(self, response: Response, context: CallContext) -> Response:
        headers = response.headers
        if not headers.has_any(_FIELDS):
            return response
        _keep(headers, context, UPSTREAM_PEER)
        return response.with_headers(headers.without(METADATA, METADATA_ID))

    def _answer(self, response: Response, context: CallContext) -> Response:
        if self.from_upstream:
            response = self._read_answer(response, context)
        headers = response.headers.without(METADATA, METADATA_ID)
        return response.with_headers(headers.exchanged("", self.ours))


def _keep(headers: Headers, context: CallContext, key: str) -> None:
    told = headers.get(METADATA)
    if told is not None and len(told) <= LARGEST:
        context.filter_state[key] = told


def parse(reader: Reader, extensions: Extensions) -> PeerMetadata | None:
    """The filter; None where no way by header fields is open."""
    check(reader, TABLE)
    found = PeerMetadata(
        extensions.peer_metadata,
        _by_headers(reader, "downstream_discovery"),
        _by_headers(reader, "upstream_discovery"),
        _by_headers(reader, "downstream_propagation"),
        _by_headers(reader, "upstream_propagation", may_skip=False),
    )
    return None if found == PeerMetadata(extensions.peer_metadata) else found


def _by_headers(reader: Reader, name: str, *, may_skip: bool = True) -> bool:
    """Whether a way by header fields is open; `may_skip`: to some alone is open too."""
    found: list[bool] = []
    for method in reader.messages(name):
        check(method, _METHOD)
        headers = method.message("istio_headers")
        if headers is not None:
            check(headers, _HEADERS)
            found.append(may_skip or not headers.boolean(_SKIPS))
    return any(found)


EXTENSION: Final = HttpFilterExtension(
    name="istio.metadata_exchange",
    type_urls=("type.googleapis.com/io.istio.http.peer_metadata.Config",),
    parse=parse,
)
