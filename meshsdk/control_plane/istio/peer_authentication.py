"""PeerAuthentication: whether callers must, may or must not come with mTLS. FEED.md 3.11."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.selectors import Workload, parse_selector, selects
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

Mode: TypeAlias = Literal["DISABLE", "PERMISSIVE", "STRICT"]

_SPEC: Final = fields("selector", "mtls", "portLevelMtls")
_MTLS: Final = fields("mode")
_MODES: Final[Mapping[str, Mode | None]] = {
    "UNSET": None,
    "DISABLE": "DISABLE",
    "PERMISSIVE": "PERMISSIVE",
    "STRICT": "STRICT",
}


@dataclass(frozen=True, slots=True)
class PeerAuthentication:
    """A policy; a mode of None is that of the level above."""

    metadata: Metadata
    mode: Mode | None = None
    port_modes: Mapping[int, Mode | None] = field(default_factory=dict[int, Mode | None])
    """By the workload's own port (a service's targetPort)."""
    selector: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class InboundMtls:
    """What all policies together say of one workload."""

    mode: Mode = "PERMISSIVE"
    ports: Mapping[int, Mode] = field(default_factory=dict[int, Mode])
    """Ports that `portLevelMtls` names, also those that inherit."""

    def of(self, port: int) -> Mode:
        """The mode of one of the workload's ports."""
        return self.ports.get(port, self.mode)


def parse_peer_authentication(document: Document) -> PeerAuthentication:
    """The policy, or why istiod would refuse it."""
    spec = document.spec(_SPEC)
    selector = parse_selector(spec)
    if spec.has("portLevelMtls") and not selector:
        problem = "needs a selector: a port is one of chosen workloads"
        raise spec.error_at("portLevelMtls", problem)
    ports: dict[int, Mode | None] = {
        _port(spec, text): _mode(reader) for text, reader in spec.entries("portLevelMtls", _MTLS)
    }
    if spec.has("portLevelMtls") and not ports:
        raise spec.error_at("portLevelMtls", "expected at least one port")
    mtls = spec.message("mtls", _MTLS)
    return PeerAuthentication(
        document.metadata, None if mtls is None else _mode(mtls), ports, selector
    )


def inbound_mtls(
    policies: Iterable[PeerAuthentication], workload: Workload, root_namespace: str
) -> InboundMtls:
    """Workload before namespace before mesh; the first of `policies`, which is the oldest, of
    each level. Source: istiod, ComposePeerAuthentication."""
    levels: dict[str, PeerAuthentication] = {}
    for policy in policies:
        level = _level(policy, workload, root_namespace)
        if level is not None:
            levels.setdefault(level, policy)
    mode: Mode = "PERMISSIVE"
    for level in ("mesh", "namespace", "workload"):
        if level in levels:
            mode = levels[level].mode or mode
    chosen = levels.get("workload")
    ports: Mapping[int, Mode | None] = {} if chosen is None else chosen.port_modes
    return InboundMtls(mode, {port: found or mode for port, found in ports.items()})


def _level(policy: PeerAuthentication, workload: Workload, root_namespace: str) -> str | None:
    namespace = policy.metadata.namespace
    if not policy.selector:
        if namespace == root_namespace:
            return "mesh"
        return "namespace" if namespace == workload.namespace else None
    # A selector in the root namespace chooses nothing, as in istiod.
    if namespace != workload.namespace or namespace == root_namespace:
        return None
    return "workload" if selects(policy.selector, workload.labels) else None


def _mode(reader: SpecReader) -> Mode | None:
    return reader.enum("mode", _MODES, "UNSET")


def _port(spec: SpecReader, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= 65535):
        raise spec.error_at("portLevelMtls", f"expected ports of 1 to 65535, found {text!r}")
    return int(text)


KIND: Final = Kind(
    "security.istio.io", "PeerAuthentication", ("v1", "v1beta1"), parse_peer_authentication
)
