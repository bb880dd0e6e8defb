"""What a simulated client is: its connection, its certificate, and the HTTP codec's own refusals."""

from collections.abc import Mapping, Sequence
from typing import cast

from meshsdk.call.address import Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Protocol, Request
from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.config.reader import Reader
from meshsdk.errors import MeshError
from meshsdk.matching.strings import StringMatcher, parse_string_matcher

Json = Mapping[str, object]
_BAD_REQUEST = LocalReply(400, b"Bad Request", flags=("DPE",), details="http1.codec_error")
SERVER_ID = "spiffe://cluster.local/ns/server/sa/server"
"""What the simulated listener's certificate says."""
_SAN_TYPES = {"URI": "uri_sans", "DNS": "dns_sans"}


class ListenerSpec:
    """The neutral config's `listener`: which clients get through the handshake."""

    def __init__(self, spec: Json) -> None:
        self.mode = str(spec.get("mode", "PERMISSIVE"))
        self.require_client_certificate = bool(spec.get("require_client_certificate"))
        self.accept_untrusted = bool(spec.get("accept_untrusted"))
        reader = Reader(spec, "listener")
        self._sans: tuple[tuple[str, StringMatcher], ...] = tuple(
            (san.string("san_type"), parse_string_matcher(san.required_message("matcher")))
            for san in reader.messages("san_matchers")
        )

    def refuses(self, request: Json) -> str | None:
        """`tls_failed`, `connection_closed`, or None when the connection comes up."""
        if not is_tls(request):
            return "connection_closed" if self.mode == "STRICT" else None
        if self.mode == "PLAINTEXT":
            return "tls_failed"
        identity = client_identity(request)
        if identity is None:
            # With a SAN list Envoy wants a certificate even where it does not require one.
            return "tls_failed" if self.require_client_certificate or self._sans else None
        if not self.accept_untrusted and (identity.get("ca") or identity.get("expired")):
            return "tls_failed"
        if self._sans and not self._allows(certificate(identity)):
            return "tls_failed"
        return None

    def _allows(self, found: Certificate) -> bool:
        return any(
            matcher.matches(value)
            for kind, matcher in self._sans
            for value in getattr(found, _SAN_TYPES.get(kind, "uri_sans"))
        )


def is_tls(request: Json) -> bool:
    """Whether the client speaks TLS."""
    return bool(request.get("tls")) or client_identity(request) is not None


def client_identity(request: Json) -> Json | None:
    """What the client's certificate says, or None."""
    found = request.get("client_cert")
    if isinstance(found, Mapping):
        return cast("Json", found)
    principal = request.get("source_principal")
    return {"uri": [principal]} if isinstance(principal, str) else None


def certificate(identity: Json) -> Certificate:
    """A certificate with those names; its fingerprint means nothing."""
    uris = tuple(cast("Sequence[str]", identity.get("uri") or ()))
    dns = tuple(cast("Sequence[str]", identity.get("dns") or ()))
    # RFC 2253 writes the last RDN first; the recorder's certificates have O, then CN.
    fields = (("CN", "cn"), ("O", "org"))
    parts = [f"{key}={identity[field]}" for key, field in fields if identity.get(field)]
    return Certificate(
        uri_sans=uris, dns_sans=dns, subject=",".join(parts), sha256="0" * 64, der=b""
    )


def connection(request: Json) -> Connection:
    """The connection on which a request of a case comes."""
    source = str(request.get("source_ip", "127.0.0.1"))
    local_host = request.get("dest_ip", "::1" if ":" in source else "127.0.0.1")
    local = Address(str(local_host), _int(request, "dest_port", 8080))
    identity = client_identity(request)
    # What did not verify is nobody's word: a listener that accepts it sees no certificate.
    validated = identity is not None and not identity.get("ca") and not identity.get("expired")
    found = certificate(identity) if identity is not None and validated else None
    peer = Peer(
        spiffe_id=None if found is None else _spiffe_id(found),
        certificate=found,
        physical=Address(str(request.get("direct_source_ip", "127.0.0.1")), 0),
        connection=Address(source, _int(request, "source_port", 40000)),
    )
    if not is_tls(request):
        return Connection(local, peer)
    return Connection(
        local,
        peer,
        "tls",
        str(request.get("sni") or "").lower(),
        ("h2",) if request.get("protocol") == "h2" else (),
        "TLSv1.3",
        local_uri_sans=(SERVER_ID,),
    )


def _int(request: Json, name: str, default: int) -> int:
    found = request.get(name, default)
    return found if isinstance(found, int) else default


def _spiffe_id(found: Certificate) -> SpiffeId | None:
    if len(found.uri_sans) != 1:
        return None
    try:
        return SpiffeId.parse(found.uri_sans[0])
    except MeshError:
        return None


def decode(request: Json) -> Request | LocalReply:
    """What the HTTP codec makes of the bytes of a request: HTTP/1.1 trims, and refuses some."""
    protocol: Protocol = "h2" if request.get("protocol") == "h2" else "http1"
    pairs = cast("Sequence[tuple[str, str]]", request.get("headers") or ())
    headers = Headers.of(
        (name, value.strip(" \t") if protocol == "http1" else value) for name, value in pairs
    )
    path = str(request.get("path", "/"))
    authority = request.get("authority")
    if protocol == "http1" and _is_bad_target(path):
        return _BAD_REQUEST
    body = request.get("body")
    if body is not None and protocol == "http1":
        headers = headers.add("content-length", str(len(str(body).encode("latin-1"))))
    default_scheme = "https" if protocol == "h2" and is_tls(request) else "http"
    return Request(
        method=str(request.get("method", "GET")),
        authority=str(authority) if authority is not None else "",
        path=path,
        headers=headers,
        scheme=str(request.get("scheme", default_scheme)),
        protocol=protocol,
        has_body=body is not None,
    )


def _is_bad_target(path: str) -> bool:
    """Octets that Envoy's HTTP/1 codec takes in no request target."""
    return any(c <= " " or c >= "\x7f" for c in path)
