"""Given values for the tests of RBAC: configs, requests, peers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meshsdk.call.address import Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request
from meshsdk.clock import SystemClock, SystemRandom
from meshsdk.config.extension import Extensions, Registry
from meshsdk.config.reader import Reader
from meshsdk.filters import HTTP_FILTERS, NETWORK_FILTERS, rbac

Config = Mapping[str, object]
ANY: Config = {"any": True}
STRICT = Extensions(
    Registry("HTTP filter", HTTP_FILTERS),
    Registry("network filter", NETWORK_FILTERS),
    Registry("lb", ()),
)
ENVOY = Extensions(STRICT.http_filters, STRICT.network_filters, STRICT.lb_policies, compat="envoy")
HERE = Address("127.0.0.1", 8080)
ID = "spiffe://td/ns/foo/sa/bar"


def rules(
    permission: Config = ANY, principal: Config = ANY, action: str = "ALLOW", name: str = "p"
) -> Config:
    """One policy."""
    policy = {"permissions": [permission], "principals": [principal]}
    return {"action": action, "policies": {name: policy}}


def header(name: str, value: str) -> Config:
    """A header permission or principal with an exact value."""
    return {"header": {"name": name, "string_match": {"exact": value}}}


def principal(**match: object) -> Config:
    """An authenticated principal by a string matcher."""
    return {"authenticated": {"principal_name": match}}


@dataclass(frozen=True)
class Given:
    """One request and what is known of its connection."""

    method: str = "GET"
    authority: str = "a.com"
    path: str = "/"
    headers: Sequence[tuple[str, str]] = ()
    certificate: Certificate | None = None
    tls: bool = False
    sni: str = ""
    source: str = "127.0.0.1"
    direct: str = "127.0.0.1"
    remote: str = "127.0.0.1"
    local: Address = HERE
    metadata: Mapping[str, dict[str, object]] = field(default_factory=dict[str, dict[str, object]])
    filter_state: Mapping[str, str] = field(default_factory=dict[str, str])
    route_metadata: Mapping[str, Mapping[str, object]] | None = None
    ignore_path_parameters: bool = False

    def request(self) -> Request:
        return Request(self.method, self.authority, self.path, Headers(self.headers))

    def context(self) -> CallContext:
        is_tls = self.tls or self.certificate is not None
        connection = Connection(
            self.local,
            Peer(
                certificate=self.certificate,
                physical=Address(self.direct, 1),
                connection=Address(self.source, 2),
            ),
            "tls" if is_tls else "raw_buffer",
            self.sni,
        )
        return CallContext(
            SystemClock(),
            SystemRandom(),
            connection,
            remote=Address(self.remote, 0),
            dynamic_metadata=dict(self.metadata),
            filter_state=dict(self.filter_state),
            route_metadata=self.route_metadata,
            ignore_path_parameters=self.ignore_path_parameters,
        )


def peer(*uris: str, dns: Sequence[str] = (), subject: str = "", ips: Sequence[str] = ()) -> Given:
    """A request over mutual TLS."""
    return Given(certificate=Certificate(uris, tuple(dns), subject, ip_sans=tuple(ips)))


def build(config: Config, extensions: Extensions = ENVOY) -> rbac.Rbac:
    """The filter."""
    return rbac.parse(Reader(config, "rbac"), extensions)


def is_allowed(http_filter: rbac.Rbac, given: Given) -> bool:
    """Whether the filter lets a request pass."""
    return not isinstance(http_filter.on_request(given.request(), given.context()), LocalReply)
