"""Where the control plane is and who we are: gRPC xDS bootstrap JSON, or Istio's environment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError

Mode: TypeAlias = Literal["sidecar", "proxyless"]
USER_AGENT = "meshsdk-python"
ISTIO_VERSION = "1.29.6"
"""The newest istiod whose feed was recorded; what `ISTIO_VERSION` of our node says."""
_TOKEN = "/var/run/secrets/tokens/istio-token"  # noqa: S105 - a path (FEED.md 2.4)
_TOKEN_VARIABLE = "MESHSDK_TOKEN_FILE"  # noqa: S105 - a name
_ROOT = "/var/run/secrets/istio/root-cert.pem"
_WORKLOAD_FILES = "/var/run/secrets/workload-spiffe-credentials"


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to talk to an xDS server or CA. Files are read again for every connection."""

    tls: bool = True
    root_file: str = ""
    """PEM roots; empty: the operating system's."""
    certificate_file: str = ""
    key_file: str = ""
    token_file: str = ""
    """A bearer token, sent as `authorization`, read again for every stream."""
    server_name: str = ""
    """Name to verify where it is not the host that is dialled."""
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Server:
    """One xDS server."""

    target: str
    """host:port, or unix:///path."""
    credentials: Credentials = Credentials()


@dataclass(frozen=True, slots=True)
class Node:
    """envoy.config.core.v3.Node."""

    id: str
    cluster: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    locality: Mapping[str, str] = field(default_factory=dict[str, str])
    user_agent_name: str = USER_AGENT

    @property
    def namespace(self) -> str:
        """Istio's config namespace, from the metadata or the id; empty elsewhere."""
        found = self.metadata.get("NAMESPACE")
        if isinstance(found, str) and found:
            return found
        parts = self.id.split("~")
        return parts[3].split(".")[0] if len(parts) == 4 else ""

    @property
    def dns_domain(self) -> str:
        """`cluster.local` of an Istio node id `type~ip~name.ns~ns.svc.cluster.local`."""
        parts = self.id.split("~")
        return parts[3].partition(".svc.")[2] if len(parts) == 4 else ""

    @property
    def address(self) -> str:
        """Our IP address in an Istio node id; empty elsewhere."""
        parts = self.id.split("~")
        return parts[1] if len(parts) == 4 else ""

    def to_json(self, version: str) -> dict[str, object]:
        """Proto-JSON of the message."""
        node: dict[str, object] = {
            "id": self.id,
            "user_agent_name": self.user_agent_name,
            "user_agent_version": version,
        }
        if self.cluster:
            node["cluster"] = self.cluster
        if self.metadata:
            node["metadata"] = dict(self.metadata)
        if self.locality:
            node["locality"] = dict(self.locality)
        return node


NOBODY = Node("")
"""Without a control plane nobody asks who we are."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files that somebody else keeps fresh."""

    certificate_file: str
    key_file: str
    root_file: str


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """All that is needed to join a mesh."""

    servers: tuple[Server, ...]
    node: Node
    mode: Mode = "sidecar"
    files: CertificateFiles | None = None
    ca: Server | None = None
    """An Istio CA, where certificates come by CSR."""

    def __post_init__(self) -> None:
        """ConfigError where no server is named."""
        if not self.servers:
            raise ConfigError("bootstrap.servers", "expected at least one server, found none")


def parse_grpc_bootstrap(text: str, origin: str) -> Bootstrap:
    """A bootstrap in gRPC's JSON form (gRFC A27, A29). `origin` names it in errors.

    An Istio node is subscribed as a sidecar even where the file asks for GENERATOR=grpc: that
    generator leaves policies out (FEED.md 4).
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigError(origin, f"expected JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(origin, "expected a JSON object")
    reader = Reader(cast("dict[str, object]", data), origin)
    servers = reader.each("xds_servers", _server, at_least=1)
    node = _node(reader.message("node"))
    mode: Mode = "sidecar" if node.id.startswith("sidecar~") else "proxyless"
    return Bootstrap(servers, node, mode, _file_watcher(reader))


def _server(reader: Reader) -> Server:
    target = reader.required_string("server_uri")
    for choice in reader.messages("channel_creds", at_least=1):
        config = choice.message("config") or Reader({}, choice.path)
        match choice.string("type"):
            case "insecure":
                return Server(target, Credentials(tls=False))
            case "tls":
                return Server(
                    target,
                    Credentials(
                        root_file=config.string("ca_certificate_file"),
                        certificate_file=config.string("certificate_file"),
                        key_file=config.string("private_key_file"),
                    ),
                )
            case "google_default":
                return Server(target, Credentials())
            case _:
                continue
    raise reader.error_at("channel_creds", "expected one of insecure, tls, google_default")


def _node(reader: Reader | None) -> Node:
    if reader is None:
        return Node("")
    metadata = {k: v for k, v in reader.struct("metadata").items() if k != "GENERATOR"}
    locality = reader.message("locality")
    places = ("region", "zone", "sub_zone")
    return Node(
        id=reader.string("id"),
        cluster=reader.string("cluster"),
        metadata=metadata,
        locality={}
        if locality is None
        else {p: locality.string(p) for p in places if locality.has(p)},
    )


def _file_watcher(reader: Reader) -> CertificateFiles | None:
    for _, provider in reader.entries("certificate_providers"):
        if provider.string("plugin_name") != "file_watcher":
            continue
        config = provider.required_message("config")
        return CertificateFiles(
            config.required_string("certificate_file"),
            config.required_string("private_key_file"),
            config.required_string("ca_certificate_file"),
        )
    return None


def from_istio_environment(env: Mapping[str, str]) -> Bootstrap | None:
    """A bootstrap from what Istio's injection templates put into a container; None outside one.

    Source: FEED.md 1.1 to 1.5, ECOSYSTEM.md 2.
    """
    if "POD_NAME" not in env or "POD_NAMESPACE" not in env or "INSTANCE_IP" not in env:
        return None
    proxy_config = _json_object(env.get("PROXY_CONFIG", ""), "PROXY_CONFIG")
    address = proxy_config.get("discoveryAddress")
    target = address if isinstance(address, str) else "istiod.istio-system.svc:15012"
    metadata = _istio_metadata(env)
    cluster_id = str(metadata.get("CLUSTER_ID", "Kubernetes"))
    token = env.get(_TOKEN_VARIABLE) or _TOKEN
    xds = Credentials(
        root_file=env.get("XDS_ROOT_CA") or _ROOT,
        token_file=token,
        server_name=env.get("ISTIOD_SAN", ""),
        metadata=(("clusterid", cluster_id),),
    )
    ca = Credentials(
        root_file=env.get("CA_ROOT_CA") or _ROOT,
        token_file=token,
        server_name=env.get("ISTIOD_SAN", ""),
        metadata=(("clusterid", cluster_id),),
    )
    namespace = env["POD_NAMESPACE"]
    name, ip = env["POD_NAME"], env["INSTANCE_IP"]
    domain = env.get("DNS_DOMAIN", f"{namespace}.svc.cluster.local")
    node = Node(
        id=f"sidecar~{ip}~{name}.{namespace}~{domain}",
        cluster=str(metadata.get("WORKLOAD_NAME", name)) + "." + namespace,
        metadata=metadata,
    )
    plaintext = target.endswith(":15010")
    return Bootstrap(
        servers=(Server(target, Credentials(tls=False) if plaintext else xds),),
        node=node,
        files=_istio_files(env),
        # On the plaintext port there is no CA (FEED.md 2.2).
        ca=None if plaintext and "CA_ADDR" not in env else Server(env.get("CA_ADDR", target), ca),
    )


def _istio_metadata(env: Mapping[str, str]) -> dict[str, object]:
    metadata: dict[str, object] = {
        "NAMESPACE": env["POD_NAMESPACE"],
        "NAME": env["POD_NAME"],
        "INSTANCE_IPS": env["INSTANCE_IP"],
        "SERVICE_ACCOUNT": env.get("SERVICE_ACCOUNT", "default"),
        "CLUSTER_ID": "Kubernetes",
        "ISTIO_VERSION": ISTIO_VERSION,
        # Nothing is redirected; NONE would send no inbound policy at all (FEED.md 1.6).
        "INTERCEPTION_MODE": "REDIRECT",
        "DNS_CAPTURE": "true",
        "DNS_AUTO_ALLOCATE": "true",
        "DISABLE_HBONE_SEND": "true",
    }
    for key, value in env.items():
        if key.startswith("ISTIO_METAJSON_"):
            name = key.removeprefix("ISTIO_METAJSON_")
            metadata[name] = _json_object(value, key)
        elif key.startswith("ISTIO_META_"):
            metadata[key.removeprefix("ISTIO_META_")] = value
    metadata.pop("GENERATOR", None)
    return metadata


def _istio_files(env: Mapping[str, str]) -> CertificateFiles | None:
    folder = env.get("OUTPUT_CERTS", "")
    if env.get("FILE_MOUNTED_CERTS") == "true":
        folder = _WORKLOAD_FILES
    if not folder:
        return None
    return CertificateFiles(
        f"{folder}/cert-chain.pem", f"{folder}/key.pem", f"{folder}/root-cert.pem"
    )


def _json_object(text: str, origin: str) -> dict[str, object]:
    if not text:
        return {}
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigError(origin, f"expected JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(origin, "expected a JSON object")
    return cast("dict[str, object]", data)
