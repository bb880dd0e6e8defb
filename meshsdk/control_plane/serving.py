"""The embedded control plane as a whole: watches a directory, serves nodes, signs for them."""

import ipaddress
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeAlias

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.clock import Clock, SystemClock
from meshsdk.control_plane.ads_server import AdsServer, NodeSnapshot, SnapshotSource
from meshsdk.control_plane.ads_session import (
    CLUSTER,
    LISTENER,
    LOAD_ASSIGNMENT,
    NAME_TABLE,
    ROUTE_CONFIGURATION,
    SECRET,
)
from meshsdk.control_plane.authentication import Authenticator
from meshsdk.control_plane.ca import CertificateService, Signing
from meshsdk.control_plane.config_directory import Stamp, stamp
from meshsdk.control_plane.configuration import Configuration, Translation
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.proxies import Proxy, parse_proxy
from meshsdk.control_plane.istio.translate import NodeState
from meshsdk.control_plane.istio.workload_group import WorkloadGroup
from meshsdk.control_plane.key_set_fetcher import KeySetFetcher
from meshsdk.control_plane.node_secrets import secrets_for
from meshsdk.control_plane.registration import GROUP, Registrations
from meshsdk.control_plane.serving_certificate import ServingCertificate
from meshsdk.control_plane.tokens import TokenIssuer
from meshsdk.control_plane.vanilla_nodes import VanillaNodes, is_envoy
from meshsdk.errors import ConfigError, PeerError, UsageError
from meshsdk.wire.grpc_server import ServerCall

_LOG = logging.getLogger("meshsdk.control_plane")
_LOOKS: Final = 0.05  # seconds between looks at the directory
_LONGEST_DEBOUNCE: Final = 1.0
_VARIANTS: Final = 8  # of one resource that are remembered; nodes of one namespace share most
_MANY: Final = 200_000


Translate: TypeAlias = Callable[[Config, Proxy], NodeState]
"""`istio.translate.translate`."""


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """How to serve."""

    trust_domain: str = "cluster.local"
    issuers: tuple[TokenIssuer, ...] = ()
    """Whose tokens count, beside those of `own_issuer`."""
    certificate_ttl: float | None = None
    """Seconds to which certificates are cut; None: as asked for, up to 90 days."""
    key_sets: Mapping[str, str] = field(default_factory=dict[str, str])
    """`jwksUri` to the key set itself, in place of a fetch."""
    translation: Translation = field(default_factory=Translation)
    clock: Clock = SystemClock()
    max_streams: int = 256


class ControlPlane:
    """`listen...`, `start`, `stop`. The directory is watched by a thread of its own."""

    def __init__(
        self,
        directory: Path,
        translate: Translate,
        options: ServingOptions,
        *,
        signing: Callable[[], Signing] | None = None,
        own_issuer: TokenIssuer | None = None,
    ) -> None:
        """Without `signing` there is no CA and no TLS. UsageError where `directory` cannot be
        read."""
        self._directory = directory
        self._translate = translate
        self._options = options
        self._signing = signing
        self._registrations = Registrations(options.clock)
        self._key_sets = KeySetFetcher(options.key_sets, options.clock, self._key_set_came)
        self._loading = threading.RLock()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._is_stale = False
        self._watcher: threading.Thread | None = None
        self._interned: dict[tuple[str, str], list[Mapping[str, object]]] = {}
        self._compared: dict[int, tuple[Mapping[str, object], Mapping[str, object]]] = {}
        issuers = (*options.issuers, *(() if own_issuer is None else (own_issuer,)))
        self._authenticator = Authenticator(options.trust_domain, lambda: issuers, options.clock)
        self._envoys = None if signing is None else VanillaNodes(signing, options.certificate_ttl)
        self.configuration = Configuration(
            directory, self._key_sets, options.translation, self._registrations.texts
        )
        self.page: Callable[[str], str | None] = lambda _: None
        """The debug page of a name; `debug.show_over_xds` sets it."""
        self.ads = AdsServer(
            admit=self._admit,
            pages=self._page,
            authenticate=self._authenticator.authenticate,
            max_streams=options.max_streams,
        )
        if signing is not None:
            service = CertificateService(
                signing, self._authenticator, longest=options.certificate_ttl
            )
            service.add_to(self.ads.grpc)
        self._stamp = stamp(directory)
        self.configuration.reload()

    # -- life -------------------------------------------------------------------------------

    def listen(self, address: str = "127.0.0.1:0", *, mutual: bool = False) -> int:
        """TLS with istiod's names: callers have a token, or with `mutual` must have a client
        certificate. Gives the port."""
        if self._signing is None:
            raise UsageError("TLS needs a CA")
        host = address.rpartition(":")[0].strip("[]")
        certificate = ServingCertificate(self._signing, host, mutual=mutual)
        return self.ads.listen(address, certificate)

    def listen_plaintext(self, address: str = "127.0.0.1:0") -> int:
        """Anybody who can connect may read any node's configuration: on loopback only. There is
        no CA on it, and no Secret."""
        if not _is_loopback(address):
            raise UsageError(f"plaintext is for loopback only, found {address}")
        return self.ads.listen(address)

    def start(self) -> None:
        """Begin to serve and to watch. Does not block."""
        self.ads.start()
        self._watcher = threading.Thread(target=self._watch, name="meshsdk-watch", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End every stream and thread."""
        self._stopped.set()
        self._wake.set()
        self._key_sets.stop()
        if self._watcher is not None:
            self._watcher.join()
        self.ads.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- nodes ------------------------------------------------------------------------------

    def _admit(self, node: Mapping[str, object], call: ServerCall) -> SnapshotSource:
        caller = self._authenticator.admit(node, call)
        try:
            proxy = parse_proxy(node)
        except ConfigError as error:
            call.abort("INVALID_ARGUMENT", str(error))
        if proxy.text(GROUP):
            self._register(proxy, caller, call)
        return partial(self.snapshot, node, caller)

    def _register(self, proxy: Proxy, caller: SpiffeId | None, call: ServerCall) -> None:
        groups = self.configuration.config.loaded.all(WorkloadGroup)
        try:
            key = self._registrations.begin(proxy, caller, groups)
        except PeerError as error:
            code = "UNAUTHENTICATED" if caller is None else "PERMISSION_DENIED"
            call.abort(code, f"auto-registration: {error}")

        def ended() -> None:
            self._registrations.end(key)

        call.on_end(ended)
        self._reload()
        self._is_stale = True
        self._wake.set()

    def _page(self, name: str, call: ServerCall) -> str:
        """For identities of the root namespace only, as istiod."""
        caller = self._authenticator.caller(call)
        if caller is None:
            call.abort("UNAUTHENTICATED", "authentication required")
        if caller.namespace != self.configuration.config.mesh.root_namespace:
            told = f'the debug info is not available for current identity: "{caller}"'
            call.abort("PERMISSION_DENIED", told)
        text = self.page(name)
        if text is None:
            call.abort("NOT_FOUND", f"no debug page {name}")
        return text

    def state(self, node: Mapping[str, object]) -> NodeState:
        """What a node is to get by the configuration in force. ConfigError where its id is none."""
        return self._translate(self.configuration.config, parse_proxy(node))

    def snapshot(self, node: Mapping[str, object], caller: SpiffeId | None) -> NodeSnapshot:
        """The same as it is served: with secrets, and for an Envoy what it understands."""
        config = self.configuration.config
        state = self._translate(config, parse_proxy(node))
        found: NodeSnapshot = {
            CLUSTER: state.clusters,
            LOAD_ASSIGNMENT: state.endpoints,
            LISTENER: state.listeners,
            ROUTE_CONFIGURATION: state.routes,
            NAME_TABLE: state.names,
            SECRET: secrets_for(config.loaded, caller),
        }
        if is_envoy(node) and self._envoys is not None and caller is not None:
            found = self._envoys.variant(found, node, caller)
        return {
            url: {name: self._same(url, name, each) for name, each in named.items()}
            for url, named in found.items()
        }

    def _same(self, url: str, name: str, data: Mapping[str, object]) -> Mapping[str, object]:
        """The object of before where nothing has changed, which the server has encoded."""
        compared = self._compared.get(id(data))
        if compared is not None and compared[0] is data:
            return compared[1]
        known = self._interned.setdefault((url, name), [])
        same = next((each for each in known if each is data or each == data), None)
        if same is None:
            known.insert(0, data)
            del known[_VARIANTS:]
            same = data
        # Nodes share most of what is translated: each is compared once, not once a node.
        if len(self._compared) > _MANY:
            self._compared.clear()
        self._compared[id(data)] = data, same
        return same

    # -- the directory ----------------------------------------------------------------------

    def _key_set_came(self) -> None:
        with self._loading:
            self.configuration.again()
        self._is_stale = True
        self._wake.set()

    def _reload(self) -> None:
        with self._loading:
            try:
                self.configuration.reload()
            except UsageError as error:
                _LOG.warning("%s", error)

    def _watch(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(_LOOKS)
            self._wake.clear()
            try:
                self._look()
            except Exception:
                # Whoever stops looking serves old policy for ever.
                _LOG.exception("following %s met a defect", self._directory)

    def _look(self) -> None:
        is_over = self._registrations.expire()
        if self._envoys is not None and self._envoys.forget_due():
            self._is_stale = True
        found = stamp(self._directory)
        if found != self._stamp or is_over:
            self._settle(found)
            self._reload()
        elif not self._is_stale:
            return
        self._is_stale = False
        self._compared.clear()
        if len(self._interned) > _MANY:
            self._interned.clear()  # names of long ago
        self.ads.refresh()

    def _settle(self, found: Stamp) -> None:
        """Wait until writing has ended, at most a second: a half-written file is no news."""
        clock = self._options.clock
        ends = clock.monotonic() + _LONGEST_DEBOUNCE
        while clock.monotonic() < ends and not self._stopped.wait(_LOOKS):
            again = stamp(self._directory)
            if again == found:
                break
            found = again
        self._stamp = stamp(self._directory)


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or address.startswith("unix:")
