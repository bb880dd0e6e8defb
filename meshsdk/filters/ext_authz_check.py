"""What an authorization service is told of a call: the attributes of a CheckRequest.

Source: envoy.service.auth.v3.AttributeContext; Envoy, CheckRequestUtils; observed with Envoy 1.40.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from meshsdk.call.address import Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.context import CallContext
from meshsdk.call.effects import BodyRead
from meshsdk.call.headers import Pair
from meshsdk.call.message import Request
from meshsdk.filters.ext_authz_answer import HOP_BY_HOP
from meshsdk.filters.side_service import text_of
from meshsdk.matching.strings import StringMatcher

_PROTOCOLS: Final = {"http1": "HTTP/1.1", "h2": "HTTP/2"}
_SERVICE: Final = "x-envoy-downstream-service-cluster"
PARTIAL_BODY: Final = "x-envoy-auth-partial-body"


@dataclass(frozen=True, slots=True)
class Shown:
    """What of a call the service may see."""

    allowed: tuple[StringMatcher, ...] | None = None
    """Names of request fields; None: all."""
    disallowed: tuple[StringMatcher, ...] = ()
    metadata: tuple[str, ...] = ()
    """Namespaces of dynamic metadata."""
    route_metadata: tuple[str, ...] = ()
    peer_certificate: bool = False
    tls_session: bool = False
    raw_headers: bool = False
    raw_body: bool = False

    def fields(self, request: Request, body: BodyRead | None) -> list[Pair]:
        """The fields that are shown, pseudo fields first."""
        pairs = [
            (":authority", request.authority),
            (":path", request.path),
            (":method", request.method),
            (":scheme", request.scheme),
            *request.headers.pairs,
        ]
        found = [pair for pair in pairs if pair[0] not in HOP_BY_HOP and self._shows(pair[0])]
        if body is not None:
            found.append((PARTIAL_BODY, "false" if body.complete else "true"))
        return found

    def _shows(self, name: str) -> bool:
        allowed = self.allowed
        if allowed is not None and not any(matcher.matches(name) for matcher in allowed):
            return False
        return not any(matcher.matches(name) for matcher in self.disallowed)


def check_request(
    shown: Shown,
    request: Request,
    context: CallContext,
    body: BodyRead | None,
    extensions: Mapping[str, str],
) -> dict[str, object]:
    """The CheckRequest of a call in proto-JSON."""
    peer, connection = context.connection.peer, context.connection
    source = _peer(peer.connection, _principal(peer.certificate))
    service = request.headers.get(_SERVICE)
    if service:
        source["service"] = text_of(service)
    if shown.peer_certificate and peer.certificate is not None:
        source["certificate"] = peer.certificate.url_encoded_pem
    local = connection.local_uri_sans[0] if connection.local_uri_sans else ""
    attributes: dict[str, object] = {
        "source": source,
        "destination": _peer(connection.local, local),
        "request": {
            "time": _time(context),
            "http": _http(shown, request, context, body),
        },
        "metadata_context": _metadata(shown.metadata, context.dynamic_metadata),
        "route_metadata_context": _metadata(shown.route_metadata, context.route_metadata or {}),
    }
    if extensions:
        attributes["context_extensions"] = dict(extensions)
    if shown.tls_session and connection.transport_protocol == "tls":
        attributes["tls_session"] = {"sni": text_of(connection.server_name)}
    return {"attributes": attributes}


def _http(
    shown: Shown, request: Request, context: CallContext, body: BodyRead | None
) -> dict[str, object]:
    found: dict[str, object] = {
        "id": str(int(context.random.random() * 2**53)),
        "method": text_of(request.method),
        "path": text_of(request.path),
        "host": text_of(request.authority),
        "scheme": text_of(request.scheme),
        "protocol": _PROTOCOLS[request.protocol],
    }
    pairs = shown.fields(request, body)
    if shown.raw_headers:
        found["header_map"] = {
            "headers": [{"key": n, "raw_value": _base64(v.encode("latin-1"))} for n, v in pairs]
        }
    else:
        found["headers"] = _joined(pairs)
    if body is not None:
        found["size"] = _size(request, body)
        if shown.raw_body:
            found["raw_body"] = _base64(body.data)
        else:
            found["body"] = text_of(body.data.decode("latin-1"))
    return found


def _joined(pairs: list[Pair]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        text = text_of(value)
        found[name] = f"{found[name]},{text}" if name in found else text
    return {text_of(name): value for name, value in found.items()}


def _size(request: Request, body: BodyRead) -> int:
    """Octets of the body that have come, as far as is known."""
    declared = request.headers.get("content-length") or ""
    return int(declared) if declared.isascii() and declared.isdigit() else len(body.data)


def _peer(address: Address, principal: str) -> dict[str, object]:
    found: dict[str, object] = {
        "address": {"socket_address": {"address": address.host, "port_value": address.port}}
    }
    if address.port == 0 and address.host.startswith("/"):
        found["address"] = {"pipe": {"path": address.host}}
    if principal:
        found["principal"] = text_of(principal)
    return found


def _principal(certificate: Certificate | None) -> str:
    if certificate is None:
        return ""
    sans = certificate.uri_sans or certificate.dns_sans
    return sans[0] if sans else certificate.subject


def _metadata(
    names: tuple[str, ...], metadata: Mapping[str, Mapping[str, object]]
) -> dict[str, object]:
    found = {name: dict(metadata[name]) for name in names if name in metadata}
    return {"filter_metadata": found} if found else {}


def _time(context: CallContext) -> str:
    return datetime.fromtimestamp(context.clock.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
