"""Moves octets between pairs of sockets, plain or TLS, on one thread of its own.

At most one piece waits in each direction: while a reader is slow its writer is not read, and nobody
else waits. Octets are looked at by nobody.
"""

import heapq
import logging
import math
import os
import selectors
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from meshsdk.clock import Clock

_LOG = logging.getLogger("meshsdk.runtime")
_READ: Final = 65536
"""Octets of one piece; of TLS no read gives more than a record (16 KiB)."""
_FEW: Final = 64
"""Pairs that are over and may be remembered, for a time, besides twice those that are not."""
_PAUSE: Final = 0.25
"""Seconds for which nobody is accepted after that failed, with no descriptor left for instance."""
_IN, _OUT = selectors.EVENT_READ, selectors.EVENT_WRITE

OnAccept: TypeAlias = Callable[[socket.socket], None]


@dataclass(slots=True, eq=False)
class _Listener:
    sock: socket.socket
    on_accept: OnAccept


@dataclass(slots=True, eq=False)
class _End:
    """One socket of a pair."""

    sock: socket.socket
    link: "Link"
    other: "_End" = field(init=False)
    is_tls: bool = False
    mask: int = 0
    waiting: memoryview | None = None
    """What this socket has not taken yet."""
    at_end: bool = False
    """Nothing more comes from this socket."""


class Link:
    """A pair of sockets that speak with each other."""

    __slots__ = ("ends", "on_end", "until")

    def __init__(self, until: float, on_end: Callable[[], None] | None) -> None:
        self.until = until
        """Monotonic seconds at which it is cut."""
        self.on_end = on_end
        self.ends: tuple[_End, _End] | None = None
        """None once it is closed."""

    def is_over(self) -> bool:
        """Whether it is closed."""
        return self.ends is None


class Splicer:
    """Any thread may ask it for things; sockets that it was given are its own from then on."""

    def __init__(self, clock: Clock, name: str = "meshsdk-splice") -> None:
        self._clock = clock
        self._name = name
        self._starting = threading.RLock()  # a collected server may close us in the midst of it
        self._thread: threading.Thread | None = None
        self._asked: deque[Callable[[], None]] = deque()
        self._ends: list[tuple[float, int, Link]] = []
        self._count = 0
        self._paused: list[tuple[float, _Listener]] = []
        self.links: set[Link] = set()
        """Pairs that are open. To be looked at from other threads only by its length."""
        self._is_closed = False

    # -- from any thread --------------------------------------------------------------------

    def listen(self, sock: socket.socket, on_accept: OnAccept) -> None:
        """Call `on_accept` with each connection that comes, on the splicer's thread: it must not
        block."""
        sock.setblocking(False)
        if not self._ask(lambda: self._listen(_Listener(sock, on_accept))):
            sock.close()

    def unlisten(self, sock: socket.socket) -> None:
        """Accept no more, and close the socket."""
        self._ask(lambda: self._unlisten(sock))

    def join(
        self,
        left: socket.socket,
        right: socket.socket,
        *,
        until: float = math.inf,
        on_end: Callable[[], None] | None = None,
    ) -> Link:
        """Let two sockets speak with each other; handshakes are over. `until`: monotonic seconds at
        which they are cut. `on_end` is called once, on the splicer's thread; at once, with both
        sockets closed, where that has ended."""
        link = Link(until, on_end)
        for sock in (left, right):
            sock.setblocking(False)
        if not self._ask(lambda: self._join(link, left, right)):
            left.close()
            right.close()
            link.on_end = None
            if on_end is not None:
                on_end()
        return link

    def cut(self, link: Link) -> None:
        """End a pair now."""
        self._ask(lambda: self._end(link))

    def close(self) -> None:
        """End every pair and the thread. Waits for the thread, a second at most."""
        with self._starting:
            self._is_closed = True
            thread, self._thread = self._thread, None
            self._asked.append(_stop)
        if thread is not None:
            self._wake()
            if thread is not threading.current_thread():
                thread.join(1.0)

    def _ask(self, what: Callable[[], None]) -> bool:
        """False where nobody will do it: the splicer is closed."""
        with self._starting:
            if self._is_closed:
                return False
            if self._thread is None:
                self._thread = self._start()
            self._asked.append(what)
        self._wake()
        return True

    def _start(self) -> threading.Thread:
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._woken, _IN, None)
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        thread.start()
        return thread

    def _wake(self) -> None:
        with suppress(OSError, AttributeError):  # full: it will wake up anyway
            self._waker.send(b"\0")

    # -- on the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        select, selector = self._selector.select, self._selector
        try:
            while True:
                for key, mask in select(self._patience()):
                    end = key.data
                    if isinstance(end, _End):
                        self._serve(end, mask)
                    elif isinstance(end, _Listener):
                        self._accept(end)
                    else:
                        with suppress(OSError):
                            self._woken.recv(4096)
                if self._asked:
                    self._perform()
                if self._ends:
                    self._cut_late()
                if self._paused:
                    self._resume()
        except _Stopped:
            pass
        finally:
            for key in list(selector.get_map().values()):
                if isinstance(key.data, _Listener):
                    key.data.sock.close()
            for _, listener in self._paused:
                listener.sock.close()
            for link in list(self.links):
                self._end(link)
            selector.close()
            self._woken.close()
            self._waker.close()

    def _perform(self) -> None:
        while self._asked:
            what = self._asked.popleft()
            try:
                what()
            except _Stopped:
                raise
            except Exception:
                _LOG.exception("a pair of sockets could not be served")

    def _patience(self) -> float | None:
        if not self._ends and not self._paused:
            return None
        first = self._ends[0][0] if self._ends else math.inf
        if self._paused:
            first = min(first, self._paused[0][0])
        return max(0.0, first - self._clock.monotonic())

    def _cut_late(self) -> None:
        now = self._clock.monotonic()
        while self._ends and self._ends[0][0] <= now:
            self._end(heapq.heappop(self._ends)[2])

    def _listen(self, listener: _Listener) -> None:
        self._selector.register(listener.sock, _IN, listener)

    def _unlisten(self, sock: socket.socket) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(sock)
        sock.close()

    def _resume(self) -> None:
        while self._paused and self._paused[0][0] <= self._clock.monotonic():
            _, listener = self._paused.pop(0)
            if listener.sock.fileno() != -1:  # closed meanwhile
                self._listen(listener)

    def _accept(self, listener: _Listener) -> None:
        try:
            sock, _ = listener.sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            _LOG.warning("accepting a connection failed: %s", os.strerror(error.errno or 0))
            # It waits in the queue: asking again at once would keep the thread busy with that.
            self._selector.unregister(listener.sock)
            self._paused.append((self._clock.monotonic() + _PAUSE, listener))
            return
        try:
            listener.on_accept(sock)
        except Exception:
            _LOG.exception("an accepted connection could not be served")
            sock.close()

    def _join(self, link: Link, left: socket.socket, right: socket.socket) -> None:
        one, two = _End(left, link), _End(right, link)
        one.other, two.other = two, one
        link.ends = (one, two)
        self.links.add(link)
        for end in link.ends:
            end.is_tls = isinstance(end.sock, ssl.SSLSocket)
            with suppress(OSError):
                end.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(end.sock, _IN, end)
            end.mask = _IN
        if link.until != math.inf:
            self._count += 1
            heapq.heappush(self._ends, (link.until, self._count, link))
            if len(self._ends) > 2 * len(self.links) + _FEW:
                self._ends = [each for each in self._ends if not each[2].is_over()]
                heapq.heapify(self._ends)
        for end in link.ends:
            if end.is_tls:  # its handshake may have read more than its own
                self._read(end)

    def _serve(self, end: _End, mask: int) -> None:
        if end.link.is_over():
            return  # closed by an event before this one
        try:
            if mask & _OUT:
                self._flush(end)
            if mask & _IN and not end.link.is_over():
                self._read(end)
        except Exception:
            _LOG.exception("a pair of sockets could not be served")
            self._end(end.link)

    def _read(self, end: _End) -> None:
        """Take a piece and hand it on; of TLS all that was decrypted already, since no event tells
        of that."""
        sock, other = end.sock, end.other
        while other.waiting is None and not end.at_end:
            try:
                data = sock.recv(_READ)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            except ssl.SSLWantWriteError:
                self._watch(end, end.mask | _OUT)  # an answer of the TLS session itself
                return
            except OSError:
                data = b""
            if not data:
                self._finished(end)
                return
            self._send(other, memoryview(data))
            if not isinstance(sock, ssl.SSLSocket) or not sock.pending():
                return

    def _send(self, end: _End, data: memoryview) -> None:
        """Write, and keep what is not taken: then the other side is not read any more."""
        sock = end.sock
        try:
            while data:
                sent = sock.send(data)
                data = data[sent:]  # of TLS one record at a time
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            end.waiting = data
            self._watch(end, end.mask | _OUT)
            self._watch(end.other, end.other.mask & ~_IN)
        except OSError:
            self._end(end.link)

    def _flush(self, end: _End) -> None:
        data, end.waiting = end.waiting, None
        if data is not None:
            self._send(end, data)
        if not self._may_go_on(end):
            return
        self._watch(end, end.mask & ~_OUT)
        other = end.other
        if other.at_end:
            self._end(end.link)
            return
        self._watch(other, other.mask | _IN)
        if other.is_tls:
            self._read(other)  # what was decrypted meanwhile
        if end.is_tls and not end.link.is_over():
            self._read(end)  # a read may have waited for this write

    @staticmethod
    def _may_go_on(end: _End) -> bool:
        return end.waiting is None and not end.link.is_over()

    def _finished(self, end: _End) -> None:
        """Nothing more comes from here: what waits is delivered, then both end."""
        end.at_end = True
        if end.other.waiting is None:
            self._end(end.link)
        else:
            self._watch(end, end.mask & ~_IN)

    def _watch(self, end: _End, mask: int) -> None:
        if mask == end.mask or end.link.is_over():
            return
        if not mask:
            self._selector.unregister(end.sock)
        elif not end.mask:
            self._selector.register(end.sock, mask, end)
        else:
            self._selector.modify(end.sock, mask, end)
        end.mask = mask

    def _end(self, link: Link) -> None:
        ends, link.ends = link.ends, None
        if ends is None:
            return
        self.links.discard(link)
        for end in ends:
            if end.mask:
                with suppress(KeyError, ValueError):
                    self._selector.unregister(end.sock)
            with suppress(OSError):
                end.sock.close()
        on_end, link.on_end = link.on_end, None
        if on_end is not None:
            on_end()


class _Stopped(Exception):
    """The thread ends."""


def _stop() -> None:
    raise _Stopped
