"""A slow try and its company, over sockets: who wins, and what becomes of the other."""

import asyncio
import threading

import httpx
import pytest

from tests.integrations.traffic import URL, mesh_of
from tests.upstream.colours import COLOURS, AnyClient, Colour
from tests.upstream.raw_server import OK, Served, serving

HEDGED = """{cluster: c, timeout: 3s, hedge_policy: {hedge_on_per_try_timeout: true},
  retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: PATIENCE,
                 retry_back_off: {base_interval: 0.001s}}}"""
BUSY = b"HTTP/1.1 503 S\r\nContent-Length: 4\r\n\r\nbusy"
BOTH = pytest.mark.parametrize("colour", COLOURS[:3], ids=lambda each: each.name)


def hedged(patience: str = "0.05s") -> str:
    return HEDGED.replace("PATIENCE", patience)


async def get(client: AnyClient) -> httpx.Response:
    return await client.get(URL)


@BOTH
def test_the_second_try_wins_and_the_first_is_reset(colour: Colour) -> None:
    gone = threading.Event()

    def script(served: Served) -> None:
        served.head()
        if served.number == 0:
            if served.wait_until_gone():
                gone.set()
        else:
            served.send(OK)

    with serving(script) as server, mesh_of(hedged(), server) as mesh:
        response = colour.run(mesh, get)

        assert gone.wait(5.0)
    assert (response.status_code, response.content) == (200, b"hi")
    assert response.extensions["meshsdk"]["attempts"] == 2


@BOTH
def test_the_slow_first_try_wins_while_the_second_runs(colour: Colour) -> None:
    second = threading.Event()
    gone = threading.Event()

    def script(served: Served) -> None:
        served.head()
        if served.number == 0:
            assert second.wait(5.0)
            served.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
            served.head()
        else:
            second.set()
            if served.wait_until_gone():
                gone.set()

    with serving(script) as server, mesh_of(hedged(), server) as mesh:
        response = colour.run(mesh, get)

        assert gone.wait(5.0)
    assert response.content == b"first"


@BOTH
def test_a_bad_answer_waits_for_the_other_try(colour: Colour) -> None:
    bad_sent = threading.Event()

    def script(served: Served) -> None:
        served.head()
        if served.number == 0:
            bad_sent.wait(5.0)
            served.send(OK)
            served.head()
        else:
            served.send(BUSY)
            bad_sent.set()
            served.head()

    with serving(script) as server, mesh_of(hedged(), server) as mesh:
        response = colour.run(mesh, get)

    assert (response.status_code, response.content) == (200, b"hi")


@BOTH
def test_a_quick_answer_has_no_company(colour: Colour) -> None:
    def script(served: Served) -> None:
        while served.head():
            served.send(OK)

    with serving(script) as server, mesh_of(hedged("2s"), server) as mesh:
        response = colour.run(mesh, get)

    assert response.extensions["meshsdk"]["attempts"] == 1
    assert server.connections == 1


@pytest.mark.slow
@BOTH
def test_the_routes_timeout_ends_all_tries(colour: Colour) -> None:
    gone = threading.Semaphore(0)

    def script(served: Served) -> None:
        served.head()
        if served.wait_until_gone():
            gone.release()

    route = hedged().replace("timeout: 3s", "timeout: 0.6s")
    with serving(script) as server, mesh_of(route, server) as mesh:
        response = colour.run(mesh, get)

        assert gone.acquire(timeout=5.0)
        assert gone.acquire(timeout=5.0)
    assert response.status_code == 504
    assert response.extensions["meshsdk"]["flags"] == ("URX", "UT")


def test_a_cancelled_call_ends_all_tries() -> None:
    heads = threading.Semaphore(0)
    gone = threading.Semaphore(0)

    def script(served: Served) -> None:
        served.head()
        heads.release()
        if served.wait_until_gone():
            gone.release()

    async def cancelled(client: AnyClient) -> set[asyncio.Task[object]]:
        call = asyncio.create_task(client.get(URL))
        for _ in range(2):
            assert await asyncio.to_thread(heads.acquire, timeout=5.0)
        call.cancel()
        await asyncio.wait([call])
        await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}

    with serving(script) as server, mesh_of(hedged(), server) as mesh:
        left = COLOURS[1].run(mesh, cancelled)

        assert gone.acquire(timeout=5.0)
        assert gone.acquire(timeout=5.0)
    assert left == set()


def test_under_trio_hedging_is_refused_by_name() -> None:
    with serving(lambda served: served.send(OK)) as server, mesh_of(hedged(), server) as mesh:
        response = COLOURS[3].run(mesh, get)

    assert response.status_code == 502
    assert "hedging" in response.extensions["meshsdk"]["details"]
