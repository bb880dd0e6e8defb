"""Access logs' files: calls hand lines over and never wait for a disk or a full pipe."""

import atexit
import logging
import os
import sys
import threading
from collections import deque
from typing import Final

_LOG: Final = logging.getLogger("meshsdk.telemetry")
_INTERVAL: Final = 1.0
"""Seconds; Envoy's access_log_flush_interval."""
_WAITING: Final = 100_000
"""Lines of one file that may wait; more are lost, and counted."""
STREAMS: Final = {"/dev/stdout": 1, "/dev/stderr": 2}
_CLOSE_TIMEOUT: Final = 1.0


class LogFile:
    """Lines for one path."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lost = 0
        self._lines: deque[str] = deque()
        self._file = STREAMS.get(path)
        self._has_failed = False

    def write(self, line: str) -> None:
        """Hand a line over."""
        if len(self._lines) >= _WAITING:
            self.lost += 1
        else:
            self._lines.append(line)

    def flush(self) -> None:
        """Write what waits. On one thread at a time."""
        lines = self._lines
        if not lines:
            return
        data = "".join([lines.popleft() for _ in range(len(lines))]).encode("latin-1", "replace")
        try:
            if self.path in STREAMS:
                (sys.stdout if self.path == "/dev/stdout" else sys.stderr).flush()
            _write_all(self._opened(), data)
            self._has_failed = False
        except (OSError, ValueError) as error:
            self.lost += data.count(b"\n")
            if not self._has_failed:
                _LOG.warning("an access log cannot be written: %s: %s", self.path, error)
            self._has_failed = True

    def _opened(self) -> int:
        """The file, opened anew where somebody has moved it away."""
        known = self._file
        if self.path in STREAMS and known is not None:
            return known
        if known is not None and not _is_at(known, self.path):
            os.close(known)
            known = None
        if known is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            known = self._file = os.open(self.path, flags, 0o644)
        return known

    def close(self) -> None:
        """Write what waits and let the file go."""
        self.flush()
        known, self._file = self._file, STREAMS.get(self.path)
        if known is not None and self.path not in STREAMS:
            os.close(known)


def _is_at(file: int, path: str) -> bool:
    try:
        there = os.stat(path)
    except OSError:
        return False
    here = os.fstat(file)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


class LogFiles:
    """Every path once. The thread `meshsdk-access-log` runs from the first line to `close`."""

    def __init__(self) -> None:
        self._files: dict[str, LogFile] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def file(self, path: str) -> LogFile:
        """The file at a path; nothing is opened yet."""
        with self._lock:
            found = self._files.get(path)
            if found is None:
                found = self._files[path] = LogFile(path)
            self._start()
            return found

    def start(self) -> None:
        """Go on after `close`; again is harmless."""
        with self._lock:
            if self._files:
                self._start()

    def _start(self) -> None:
        if self._thread is None:
            self._stop = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._stop,), name="meshsdk-access-log", daemon=True
            )
            self._thread.start()
            atexit.register(self.flush)

    @property
    def lost(self) -> int:
        """Lines that were not written."""
        return sum(file.lost for file in list(self._files.values()))

    def flush(self) -> None:
        """Write what waits, on this thread."""
        with self._lock:
            for file in self._files.values():
                file.flush()

    def close(self) -> None:
        """Write what waits and end the thread."""
        atexit.unregister(self.flush)
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CLOSE_TIMEOUT)
        if thread is None or not thread.is_alive():  # else it is stuck in a full pipe
            with self._lock:
                for file in self._files.values():
                    file.close()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(_INTERVAL):
            self.flush()
