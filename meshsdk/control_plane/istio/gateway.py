"""Gateway: what proxies of type `router` accept. Here it is read and translated; nothing serves it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.hostnames import is_host
from meshsdk.control_plane.istio.services import Protocol, is_ip, protocol_of
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

TlsMode: TypeAlias = Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"]

_SPEC: Final = fields("servers", "selector")
_SERVER: Final = fields("port", "bind", "hosts", "tls", "name", "defaultEndpoint")
_PORT: Final = fields(
    "number", "protocol", "name", ignored={"targetPort": "istiod does not read it here either"}
)
_TLS: Final = fields(
    "httpsRedirect", "mode", "serverCertificate", "privateKey", "caCertificates",
    "credentialName", "subjectAltNames", "verifyCertificateSpki", "verifyCertificateHash",
    "minProtocolVersion", "maxProtocolVersion", "cipherSuites",
    refused={
        "caCrl": "not built, and revoked certificates would be taken",
        "caCertCredentialName": "not built, and clients would be verified by another root",
        "credentialNames": "not built: name one with credentialName",
        "tlsCertificates": "not built: name one with serverCertificate and privateKey",
    },
)  # fmt: skip
_MODES: Final[Mapping[str, TlsMode | None]] = {
    "PASSTHROUGH": "PASSTHROUGH",
    "SIMPLE": "SIMPLE",
    "MUTUAL": "MUTUAL",
    "ISTIO_MUTUAL": "ISTIO_MUTUAL",
    "OPTIONAL_MUTUAL": "OPTIONAL_MUTUAL",
    "AUTO_PASSTHROUGH": None,
}
_VERSIONS: Final = {
    "TLS_AUTO": "", "TLSV1_0": "TLSv1_0", "TLSV1_1": "TLSv1_1", "TLSV1_2": "TLSv1_2",
    "TLSV1_3": "TLSv1_3",
}  # fmt: skip
_SPEAKING_TLS: Final = ("HTTPS", "TLS")


@dataclass(frozen=True, slots=True)
class ServerTls:
    """TLS of a server; `is_redirect` alone stands on plaintext ones."""

    mode: TlsMode = "PASSTHROUGH"
    is_redirect: bool = False
    certificate: str = ""
    """Paths of files, as are the two below."""
    private_key: str = ""
    ca_certificates: str = ""
    credential_name: str = ""
    subject_alt_names: tuple[str, ...] = ()
    spki: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    min_version: str = ""
    max_version: str = ""
    cipher_suites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Server:
    """One port with some hosts."""

    number: int
    protocol: Protocol
    port_name: str
    hosts: tuple[tuple[str, str], ...]
    """(namespace, host); namespace `*` is any."""
    bind: str = ""
    tls: ServerTls | None = None

    @property
    def is_terminating(self) -> bool:
        """Whether it opens TLS."""
        return self.tls is not None and not self.tls.is_redirect and self.tls.mode != "PASSTHROUGH"

    @property
    def is_http(self) -> bool:
        """Whether requests are read."""
        if self.protocol == "HTTPS":
            return self.is_terminating
        return self.protocol in ("HTTP", "HTTP2", "GRPC", "GRPC_WEB")

    @property
    def names(self) -> tuple[str, ...]:
        """Its hosts without namespaces."""
        return tuple(host for _, host in self.hosts)


@dataclass(frozen=True, slots=True)
class Gateway:
    """Servers of some proxies."""

    metadata: Metadata
    servers: tuple[Server, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict[str, str])


def parse_gateway(document: Document) -> Gateway:
    """The servers, or why istiod would refuse them."""
    spec = document.spec(_SPEC)
    namespace = document.metadata.namespace
    servers = tuple(
        _server(each, namespace) for each in spec.messages("servers", _SERVER, at_least=1)
    )
    names: set[str] = set()
    for i, server in enumerate(servers):
        if server.port_name in names:
            raise spec.error_at("servers", f"the port name {server.port_name} is there twice", i)
        names.add(server.port_name)
    return Gateway(document.metadata, servers, spec.string_map("selector"))


def _server(reader: SpecReader, namespace: str) -> Server:
    port = reader.required_message("port", _PORT)
    protocol = protocol_of(port.required_string("protocol"))
    if protocol == "AUTO":
        raise port.error_at("protocol", f"unknown protocol {port.string('protocol')!r}")
    bind = reader.string("bind")
    if bind and not is_ip(bind):
        raise reader.error_at("bind", f"expected an IP address, found {bind!r}")
    tls = reader.message("tls", _TLS)
    server = Server(
        port.integer("number", at_least=1, at_most=65535),
        protocol,
        port.required_string("name"),
        _hosts(reader, namespace),
        bind,
        None if tls is None else _tls(tls),
    )
    is_secure = protocol in _SPEAKING_TLS
    if is_secure and server.tls is None:
        raise reader.error(f"expected tls for {protocol}, found none")
    if not is_secure and server.tls is not None and server.is_http and not server.tls.is_redirect:
        raise reader.error_at("tls", f"not for {protocol}, but for httpsRedirect")
    return server


def _hosts(reader: SpecReader, namespace: str) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for i, text in enumerate(reader.strings("hosts")):
        place, slash, host = text.rpartition("/")
        if not is_host(host) or (slash and not place):
            raise reader.error_at("hosts", f"expected [NAMESPACE/]HOST, found {text!r}", i)
        found.append((namespace if place == "." else place or "*", host))
    if not found:
        raise reader.error("expected hosts, found none")
    return tuple(found)


def _tls(reader: SpecReader) -> ServerTls:
    mode = reader.enum("mode", _MODES, "PASSTHROUGH")
    if mode is None:
        problem = "AUTO_PASSTHROUGH is not built: there is one network"
        raise reader.error_at("mode", problem)
    tls = ServerTls(
        mode,
        reader.boolean("httpsRedirect"),
        reader.string("serverCertificate"),
        reader.string("privateKey"),
        reader.string("caCertificates"),
        reader.string("credentialName"),
        reader.strings("subjectAltNames"),
        reader.strings("verifyCertificateSpki"),
        reader.strings("verifyCertificateHash"),
        reader.enum("minProtocolVersion", _VERSIONS, "TLS_AUTO"),
        reader.enum("maxProtocolVersion", _VERSIONS, "TLS_AUTO"),
        reader.strings("cipherSuites"),
    )
    has_files = bool(tls.certificate and tls.private_key)
    if mode == "ISTIO_MUTUAL" and (has_files or tls.credential_name):
        raise reader.error("ISTIO_MUTUAL brings its own certificates: name none")
    if mode in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"):
        if not has_files and not tls.credential_name:
            raise reader.error("expected credentialName, or serverCertificate and privateKey")
        if mode != "SIMPLE" and has_files and not tls.ca_certificates:
            raise reader.error(f"{mode} needs caCertificates, found none")
    return tls


KIND: Final = Kind("networking.istio.io", "Gateway", ("v1", "v1beta1", "v1alpha3"), parse_gateway)
