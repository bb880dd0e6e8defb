"""The one ADS server: delta and state of the world, one snapshot per node, pushed when it changes.

The embedded control plane, the gRPC loopback, the demo and the tests stand on it.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Self, TypeAlias

from meshsdk.control_plane.ads_debug import DEBUG, debug_pages
from meshsdk.control_plane.ads_session import Resource, Session, Snapshot, resource
from meshsdk.control_plane.ads_status import ClientStatus, status_of
from meshsdk.errors import ConfigError
from meshsdk.wire.ads_codec import METHODS, SERVICE, NodeRequest, decode_request, encode_response
from meshsdk.wire.grpc_server import Authenticate, GrpcServer, ServerCall, ServerTls
from meshsdk.xds.messages import Variant

NodeSnapshot: TypeAlias = Mapping[str, Mapping[str, Mapping[str, object]]]
"""Type URL to name to resource in canonical proto-JSON: all that a node can ask for. A resource
that was given is encoded once, whatever number of nodes gets it, and is not to be changed."""
Changes: TypeAlias = Mapping[str, Mapping[str, Mapping[str, object] | None]]
"""As NodeSnapshot; None removes."""
SnapshotSource: TypeAlias = Callable[[], NodeSnapshot | None]
Pages: TypeAlias = Callable[[str, ServerCall], str]
Admit: TypeAlias = Callable[[Mapping[str, object], ServerCall], SnapshotSource]

_LOG = logging.getLogger("meshsdk.control_plane")
_MAX_UNREAD: Final = 16  # requests of one stream that wait; then gRPC's flow control holds the rest


class AdsServer:
    """Serves ADS on any number of addresses; safe for threads.

    `listen`, then `start`; `stop` ends every stream. A stream whose node has no snapshot yet gets
    no answer until it has one. `max_streams`: one more is refused with RESOURCE_EXHAUSTED.
    """

    def __init__(
        self,
        snapshot_for: Callable[[Mapping[str, object]], NodeSnapshot | None] | None = None,
        *,
        admit: Admit | None = None,
        pages: Pages | None = None,
        authenticate: Authenticate = lambda _: None,
        max_streams: int = 32,
    ) -> None:
        """`snapshot_for` is asked, with the node, for those that `set` was not called for: when
        their stream begins, and by `refresh`. None: none yet. On a thread of the server.

        `admit` takes its place where callers prove who they are: it is asked when a stream has
        said its node, may abort the call, and gives what is asked for this stream's snapshot.
        `authenticate` is asked before, as a stream begins, and may abort it: streams are counted.
        `pages` gives the texts of the type `istio.io/debug`, by name; it may abort the call."""
        self.grpc = GrpcServer(threads=max_streams + 4)
        """For other services on the same addresses; add them before `start`."""
        self._snapshot_for = snapshot_for
        self._admit = admit
        self._pages = pages
        self._max_streams = max_streams
        self._news = threading.Condition(threading.RLock())
        self._streams: list[_Stream] = []
        self._snapshots: dict[str, Snapshot] = {}
        self._encoded: dict[int, tuple[Mapping[str, object], Resource]] = {}
        self._version = 0
        behaviours = {METHODS[variant]: partial(self._serve, variant) for variant in METHODS}
        self.grpc.add(SERVICE, streams=behaviours, authenticate=authenticate)

    # -- life -------------------------------------------------------------------------------

    def listen(
        self, address: str = "127.0.0.1:0", tls: ServerTls | Callable[[], ServerTls] | None = None
    ) -> int:
        """Bind `host:port` or `unix:///path`, before `start`; gives the port. OSError when it
        cannot. `tls` as in `GrpcServer.listen`."""
        return self.grpc.listen(address, tls)

    def start(self) -> None:
        """Begin to serve. Does not block."""
        self.grpc.start()

    def stop(self) -> None:
        """End all streams and wait for their threads."""
        with self._news:
            readers = [stream.reader for stream in self._streams]
        self.grpc.stop()
        for reader in readers:
            reader.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- what is served ---------------------------------------------------------------------

    def set(self, node_id: str, resources: NodeSnapshot) -> None:
        """Give a node all its resources; what differs from before is pushed.

        ConfigError names the first field that does not fit its type; nothing has changed then.
        """
        with self._news:
            self._snapshots[node_id] = self._encode(resources)
            self._version += 1
            self._forget_unused()
            self._wake(node_id)

    def update(self, node_id: str, changes: Changes) -> None:
        """Change some resources of a node that has been `set`; only these are pushed."""
        with self._news:
            before = self._snapshots[node_id]
            changed = self._encode(
                {
                    type_url: {name: data for name, data in named.items() if data is not None}
                    for type_url, named in changes.items()
                }
            )
            after = dict(before)
            for type_url, named in changes.items():
                kept = {
                    name: each
                    for name, each in before.get(type_url, {}).items()
                    if name not in named
                }
                after[type_url] = {**kept, **changed[type_url]}
            self._snapshots[node_id] = after
            self._version += 1
            self._forget_unused()
            self._wake(node_id)

    def refresh(self) -> None:
        """Ask `snapshot_for` again for every connected node that it serves."""
        with self._news:
            streams = [stream for stream in self._streams if stream.node_id is not None]
        for stream in streams:
            self._ask_for_snapshot(stream)
        with self._news:
            self._version += 1
            self._forget_unused()
            for stream in streams:
                stream.wake()

    # -- what clients did -------------------------------------------------------------------

    def clients(self) -> tuple[ClientStatus, ...]:
        """The connected clients that have said who they are."""
        with self._news:
            return tuple(
                ClientStatus(
                    stream.node_id,
                    stream.node,
                    stream.session.variant,
                    {url: status_of(watch) for url, watch in stream.session.watches.items()},
                )
                for stream in self._streams
                if stream.node_id is not None
            )

    def wait(self, until: Callable[[tuple[ClientStatus, ...]], bool], timeout: float) -> bool:
        """Block until the clients are as wanted, at most `timeout` seconds; whether they are."""
        with self._news:
            return self._news.wait_for(lambda: until(self.clients()), timeout)

    def wait_settled(self, node_id: str, timeout: float) -> bool:
        """Block until a node is connected, holds the newest snapshot and has answered it all."""

        def settled(_: tuple[ClientStatus, ...]) -> bool:
            found = [stream for stream in self._streams if stream.node_id == node_id]
            return bool(found) and all(self._is_settled(stream) for stream in found)

        return self.wait(settled, timeout)

    # -- one stream -------------------------------------------------------------------------

    def _serve(self, variant: Variant, raw: Iterator[bytes], call: ServerCall) -> Iterator[bytes]:
        stream = _Stream(variant, raw)
        with self._news:
            if len(self._streams) >= self._max_streams:
                call.abort("RESOURCE_EXHAUSTED", f"{self._max_streams} streams are open already")
            self._streams.append(stream)
        call.on_end(stream.end)
        stream.reader.start()
        try:
            while (requests := stream.next_requests()) is not None:
                yield from self._answer(stream, requests, call)
            if stream.failure:
                call.abort("INVALID_ARGUMENT", stream.failure)
        finally:
            stream.end()
            with self._news:
                self._streams.remove(stream)
                self._news.notify_all()

    def _answer(
        self, stream: "_Stream", requests: list[NodeRequest], call: ServerCall
    ) -> Iterator[bytes]:
        if stream.node_id is None and requests:
            self._introduce(stream, requests[0].node, call)
        if self._pages is not None:
            for request in requests:
                yield from debug_pages(request.request, stream.session.variant, self._pages, call)
            requests = [each for each in requests if each.request.type_url != DEBUG]
        with self._news:
            for request in requests:
                stream.session.receive(request.request)
            stream.served = self._current(stream)
            pushes = []
            if stream.served is not None:
                pushes = list(stream.session.pushes(stream.served, str(self._version)))
            self._news.notify_all()
        for push in pushes:
            yield encode_response(
                stream.session.variant,
                push.type_url,
                version=push.version,
                nonce=push.nonce,
                resources=push.resources,
                removed=push.removed,
            )

    def _introduce(
        self, stream: "_Stream", node: Mapping[str, object] | None, call: ServerCall
    ) -> None:
        node_id = None if node is None else node.get("id")
        if node is None or not isinstance(node_id, str):
            call.abort("INVALID_ARGUMENT", "missing node information")
        stream.node = node
        if self._admit is not None:
            stream.source = self._admit(node, call)
        elif self._snapshot_for is not None:
            stream.source = partial(self._snapshot_for, node)
        with self._news:
            stream.node_id = node_id  # from here on `refresh` knows it
        self._ask_for_snapshot(stream)

    def _is_settled(self, stream: "_Stream") -> bool:
        current, watches = self._current(stream), stream.session.watches.values()
        is_served = current is not None and stream.served is current and bool(watches)
        return is_served and all(status_of(watch).is_settled for watch in watches)

    # -- snapshots --------------------------------------------------------------------------

    def _current(self, stream: "_Stream") -> Snapshot | None:
        return self._snapshots.get(stream.node_id or "", stream.snapshot)

    def _ask_for_snapshot(self, stream: "_Stream") -> None:
        if stream.source is None:
            return
        with stream.asking:  # else an older answer could come last
            try:
                resources = stream.source()
                with self._news:
                    stream.snapshot = None if resources is None else self._encode(resources)
            except Exception:
                # One node's trouble must not keep the others from their news.
                _LOG.exception("node %s keeps what it has", stream.node.get("id"))

    def _encode(self, resources: NodeSnapshot) -> Snapshot:
        return {
            type_url: {name: self._resource(type_url, name, data) for name, data in named.items()}
            for type_url, named in resources.items()
        }

    def _resource(self, type_url: str, name: str, data: Mapping[str, object]) -> Resource:
        known = self._encoded.get(id(data))
        if known is not None and known[1].encoded.name == name:
            return known[1]
        made = resource(type_url, name, data)
        self._encoded[id(data)] = (data, made)  # which keeps the id taken
        return made

    def _forget_unused(self) -> None:
        given = [*self._snapshots.values(), *(stream.snapshot or {} for stream in self._streams)]
        used = {id(each) for snapshot in given for n in snapshot.values() for each in n.values()}
        if len(self._encoded) > 2 * len(used):
            self._encoded = {
                key: known for key, known in self._encoded.items() if id(known[1]) in used
            }

    def _wake(self, node_id: str) -> None:
        for stream in self._streams:
            if stream.node_id == node_id:
                stream.wake()


@dataclass(eq=False, slots=True)
class _Stream:
    """A stream that is being served: read by a thread of its own, answered by gRPC's."""

    variant: Variant
    raw: Iterator[bytes]
    node: Mapping[str, object] = field(default_factory=dict[str, object])
    node_id: str | None = None
    """None until the first request has been read."""
    source: SnapshotSource | None = None
    """What is asked for its snapshot, for a node that was not `set`."""
    asking: threading.Lock = field(default_factory=threading.Lock)
    snapshot: Snapshot | None = None
    """Of `source`."""
    served: Snapshot | None = None
    """What was compared last with what the client holds."""
    failure: str = ""
    """Why the client's bytes could not be read."""
    session: Session = field(init=False)
    reader: threading.Thread = field(init=False)
    _requests: deque[NodeRequest] = field(default_factory=deque[NodeRequest])
    _is_woken: bool = False
    _has_ended: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.session = Session(self.variant)
        self.reader = threading.Thread(target=self._read, name="meshsdk-ads-server", daemon=True)

    def next_requests(self) -> list[NodeRequest] | None:
        """Block for requests, or for a changed snapshot (no requests); None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._requests or self._is_woken or self._has_ended)
            if self._has_ended and not self._requests:
                return None
            requests = list(self._requests)
            self._requests.clear()
            self._is_woken = False
            self._changed.notify_all()
            return requests

    def wake(self) -> None:
        """The snapshot has changed."""
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()

    def end(self) -> None:
        """The call is over."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def _read(self) -> None:
        try:
            for raw in self.raw:
                request = decode_request(raw, self.variant)
                with self._changed:
                    self._changed.wait_for(
                        lambda: len(self._requests) < _MAX_UNREAD or self._has_ended
                    )
                    if self._has_ended:
                        return
                    self._requests.append(request)
                    self._changed.notify_all()
        except ConfigError as error:
            self.failure = f"the request cannot be read: {error}"
        finally:
            self.end()
