"""VirtualService: where requests to a host go. FEED.md 3.5."""

from dataclasses import dataclass
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.hostnames import is_host, whole_name
from meshsdk.control_plane.istio.http_match import CLAIMS, MESH, gateway_name
from meshsdk.control_plane.istio.http_rule import HTTP, HttpRule, parse_http_rule
from meshsdk.control_plane.istio.l4_rule import TCP, TLS, L4Rule, parse_tcp_rule, parse_tls_rule
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

_SPEC: Final = fields("hosts", "gateways", "http", "tls", "tcp", "exportTo")


@dataclass(frozen=True, slots=True)
class VirtualService:
    """Host names are whole: a short one is of the document's namespace."""

    metadata: Metadata
    hosts: tuple[str, ...] = ()
    """Empty: a delegate, which others refer to."""
    gateways: tuple[str, ...] = (MESH,)
    """`mesh`, or namespace/name."""
    http: tuple[HttpRule, ...] = ()
    tls: tuple[L4Rule, ...] = ()
    tcp: tuple[L4Rule, ...] = ()
    export_to: tuple[str, ...] = ()
    """Empty: as the mesh config says."""
    config: str = ""
    """The document as a resource's metadata names it."""

    def is_visible_to(self, namespace: str, default: tuple[str, ...]) -> bool:
        """Whether workloads of a namespace see it."""
        exported = self.export_to or default
        own = self.metadata.namespace
        return "*" in exported or namespace in exported or ("." in exported and namespace == own)


def parse_virtual_service(document: Document) -> VirtualService:
    """The routes, or why istiod would refuse them."""
    spec = document.spec(_SPEC)
    namespace = document.metadata.namespace
    gateways = tuple(gateway_name(name, namespace) for name in spec.strings("gateways"))
    hosts = _hosts(spec, namespace, is_mesh=not gateways or MESH in gateways)
    http = tuple(parse_http_rule(each, namespace) for each in spec.messages("http", HTTP))
    tls = tuple(parse_tls_rule(each, namespace, hosts) for each in spec.messages("tls", TLS))
    tcp = tuple(parse_tcp_rule(each, namespace) for each in spec.messages("tcp", TCP))
    if not (http or tls or tcp):
        raise spec.error("expected http, tls or tcp, found none")
    if hosts:
        _check_claims(spec, http, gateways)
    else:
        _check_delegate(spec, http)
    path = f"namespaces/{namespace}/virtual-service/{document.metadata.name}"
    return VirtualService(
        document.metadata,
        hosts,
        gateways or (MESH,),
        http,
        tls,
        tcp,
        spec.strings("exportTo"),
        f"/apis/networking.istio.io/v1/{path}",
    )


def _hosts(spec: SpecReader, namespace: str, *, is_mesh: bool) -> tuple[str, ...]:
    written = spec.strings("hosts")
    found: list[str] = []
    for i, name in enumerate(written):
        if not is_host(name):
            raise spec.error_at("hosts", f"expected a host name, found {name!r}", i)
        if name == "*" and is_mesh:
            raise spec.error_at("hosts", "the wildcard * is not for the gateway mesh", i)
        host = whole_name(name, namespace)
        if host in found:
            raise spec.error_at("hosts", f"{name} is there twice", i)
        found.append(host)
    return tuple(found)


def _check_claims(spec: SpecReader, http: tuple[HttpRule, ...], gateways: tuple[str, ...]) -> None:
    """istiod: JWT claims are matched at gateways alone."""
    if gateways and MESH not in gateways:
        return
    for i, rule in enumerate(http):
        for match in rule.matches:
            names = (*match.headers, *match.without_headers)
            if any(name.startswith(CLAIMS) for name in names):
                problem = f"{CLAIMS} is for gateways, and this is bound to mesh"
                raise spec.error_at("http", problem, i)


def _check_delegate(spec: SpecReader, http: tuple[HttpRule, ...]) -> None:
    for name in ("gateways", "tcp", "tls"):
        if spec.has(name):
            raise spec.error_at(name, "not in a delegate, which is one without hosts")
    for i, rule in enumerate(http):
        if rule.delegate is not None:
            raise spec.error_at("http", "a delegate has no delegates", i)


KIND: Final = Kind(
    "networking.istio.io",
    "VirtualService",
    ("v1", "v1beta1", "v1alpha3"),
    parse_virtual_service,
)
