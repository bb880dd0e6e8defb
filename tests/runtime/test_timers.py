"""Things that are done later."""

import os
import select
from threading import Event

import pytest

from meshsdk.clock import SystemClock
from meshsdk.runtime.timers import Timers

PATIENCE = 10.0


def test_what_is_cancelled_is_not_done() -> None:
    timers, done = Timers(SystemClock()), Event()
    found: list[str] = []

    timers.after(0.01, lambda: found.append("cancelled")).cancel()
    timers.after(0.02, done.set)

    assert done.wait(PATIENCE)
    assert found == []


def test_one_that_fails_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    timers, done = Timers(SystemClock()), Event()

    timers.after(0.0, lambda: os.close(-1))
    timers.after(0.01, done.set)

    assert done.wait(PATIENCE)
    assert "a timer failed" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_timers_of_its_own() -> None:
    timers, started = Timers(SystemClock()), Event()
    timers.after(0.0, started.set)
    assert started.wait(PATIENCE)
    read, write = os.pipe()

    child = os.fork()
    if not child:
        done = Event()
        timers.after(0.0, done.set)
        os.write(write, b"x" if done.wait(PATIENCE) else b"late")
        os._exit(0)

    os.close(write)
    assert select.select([read], [], [], 2 * PATIENCE)[0]
    assert os.read(read, 10) == b"x"
    os.close(read)
    os.waitpid(child, 0)
