"""Clusters with http2_protocol_options, in every colour and over real sockets."""

import threading
from collections.abc import Callable

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, StreamEnded
from h2.settings import SettingCodes

from meshsdk.testing.ca import FakeCa
from tests.upstream.colours import AnyClient, Colour, every_colour
from tests.upstream.h2_server import Served2, h2
from tests.upstream.mtls import SOCKET, MeshTls, server_context
from tests.upstream.one_cluster import OneCluster
from tests.upstream.raw_server import RawServer, serving

H2: dict[str, object] = {
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
}
BIG = bytes(range(256)) * 16384  # 4 MiB: many times any window
URL = "http://backend.test/path?q=1"
Test = Callable[[AnyClient], object]


def mesh_of(server: RawServer, **options: object) -> OneCluster:
    return OneCluster(server.address, H2, **options)  # type: ignore[arg-type]


def echo(served: Served2) -> None:
    while (asked := served.request()) is not None:
        stream, fields, body = asked
        told = b"%b %b" % (fields[b":method"], fields[b":path"])
        served.answer(stream, body or b"nothing", (b"x-asked", told))


@every_colour
def test_requests_follow_each_other_on_one_connection(colour: Colour) -> None:
    async def test(client: AnyClient) -> list[tuple[bytes, str, object]]:
        answers = [await client.request("POST", URL, content=body) for body in (b"one", b"", b"2")]
        return [(a.content, a.headers["x-asked"], a.extensions["http_version"]) for a in answers]

    with serving(h2(echo)) as server:
        mesh = mesh_of(server)
        told = colour.run(mesh, test)

        assert told == [(body, "POST /path?q=1", b"HTTP/2") for body in (b"one", b"nothing", b"2")]
        assert server.connections == 1
        assert [end.reset for end in mesh.ends] == [None, None, None]


@every_colour
def test_bodies_larger_than_every_window_pass_both_ways(colour: Colour) -> None:
    async def test(client: AnyClient) -> list[bytes]:
        pieces = client.content(*[BIG[i : i + 300_000] for i in range(0, len(BIG), 300_000)])
        return [
            (await client.request("POST", URL, content=BIG)).content,
            (await client.request("POST", URL, content=pieces)).content,
        ]

    with serving(h2(echo)) as server:
        assert colour.run(mesh_of(server), test) == [BIG, BIG]


@every_colour
def test_mtls_offers_and_speaks_h2(colour: Colour) -> None:
    ca = FakeCa()

    async def test(client: AnyClient) -> bytes:
        return (await client.request("PUT", URL, content=b"private")).content

    with serving(h2(echo), context=server_context(ca)) as server:
        tls = MeshTls(ca.context("shop/client"))
        assert colour.run(mesh_of(server, tls=tls, socket=SOCKET), test) == b"private"
        assert [protocol for protocol, _ in tls.asked] == ["h2"]


@every_colour
def test_trailers_and_head_requests_end_where_frames_say(colour: Colour) -> None:
    def script(served: Served2) -> None:
        asked = served.request()
        assert asked is not None
        served.answer(asked[0], b"data", trailers={b"grpc-status": b"0"})
        asked = served.request()
        assert asked is not None
        served.answer(asked[0], b"", (b"content-length", b"99"))
        served.request()

    async def test(client: AnyClient) -> list[tuple[int, bytes]]:
        answers = [await client.get(URL), await client.request("HEAD", URL)]
        return [(a.status_code, a.content) for a in answers]

    with serving(h2(script)) as server:
        mesh = mesh_of(server)
        assert colour.run(mesh, test) == [(200, b"data"), (200, b"")]
        trailers = mesh.ends[0].trailers
        assert trailers is not None
        assert list(trailers) == [("grpc-status", "0")]


@every_colour
def test_fields_of_a_connection_stay_and_te_says_trailers_alone(colour: Colour) -> None:
    seen: list[dict[bytes, bytes]] = []

    def script(served: Served2) -> None:
        while (asked := served.request()) is not None:
            seen.append(asked[1])
            served.answer(asked[0], b"ok")

    async def test(client: AnyClient) -> None:
        for te in ("trailers", "gzip"):
            await client.get(URL, headers={"te": te, "Connection": "close", "X-Kept": "1"})

    with serving(h2(script)) as server:
        colour.run(mesh_of(server), test)

    assert [fields.get(b"te") for fields in seen] == [b"trailers", None]
    assert all(b"connection" not in f and b"host" not in f for f in seen)
    assert seen[0][b":authority"] == b"backend.test"
    assert seen[0][b"x-kept"] == b"1"


def reset_with(code: ErrorCodes) -> Callable[[Served2], None]:
    def script(served: Served2) -> None:
        asked = served.request()
        assert asked is not None
        served.connection.reset_stream(asked[0], code)
        served.flush()
        served.request()

    return script


def goaway(last: int) -> Callable[[Served2], None]:
    def script(served: Served2) -> None:
        if served.served.number:
            return echo(served)
        asked = served.request()
        assert asked is not None
        if last:
            served.connection.close_connection(last_stream_id=last)
            served.flush()
            served.served.socket.close()
        else:
            served.connection.close_connection(last_stream_id=0)
            served.flush()
            served.request()
        return None

    return script


@pytest.mark.parametrize(
    ("script", "details"),
    [
        (reset_with(ErrorCodes.REFUSED_STREAM), "remote_reset{REFUSED"),
        (reset_with(ErrorCodes.INTERNAL_ERROR), "remote_reset"),
        (goaway(0), "GOAWAY"),
        (goaway(1), "connection_termination"),
    ],
    ids=["refused", "internal error", "GOAWAY before it", "cut"],
)
@every_colour
def test_an_ended_stream_is_a_failed_attempt(
    colour: Colour, script: Callable[[Served2], None], details: str
) -> None:
    async def test(client: AnyClient) -> tuple[int, str]:
        answer = await client.request("POST", URL, content=b"x")
        return answer.status_code, answer.text

    with serving(h2(script)) as server:
        status, text = colour.run(mesh_of(server), test)

    assert status == 503
    assert text.startswith("upstream connect error or disconnect/reset before headers")


@every_colour
def test_goaway_between_requests_costs_none(colour: Colour) -> None:
    def script(served: Served2) -> None:
        asked = served.request()
        assert asked is not None
        served.answer(asked[0], b"first" if not served.served.number else b"second")
        served.connection.close_connection(last_stream_id=asked[0])
        served.flush()
        told.set()
        served.request()

    told = threading.Event()

    async def test(client: AnyClient) -> list[bytes]:
        first = (await client.request("POST", URL, content=b"x")).content
        told.wait(5)
        return [first, (await client.request("POST", URL, content=b"y")).content]

    with serving(h2(script)) as server:
        assert colour.run(mesh_of(server), test) == [b"first", b"second"]


@every_colour
def test_settings_and_pings_of_an_idle_connection_are_answered(colour: Colour) -> None:
    answered = threading.Event()

    def script(served: Served2) -> None:
        asked = served.request()
        assert asked is not None
        served.answer(asked[0], b"first")
        served.connection.ping(b"12345678")
        served.connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 5})
        served.flush()
        answered.set()
        echo(served)

    async def test(client: AnyClient) -> list[bytes]:
        first = (await client.get(URL)).content
        answered.wait(5)
        return [first, (await client.request("POST", URL, content=b"y" * 500)).content]

    with serving(h2(script)) as server:
        assert colour.run(mesh_of(server), test) == [b"first", b"y" * 500]
        assert server.connections == 1


@pytest.mark.slow
@every_colour
def test_pings_are_answered_between_frames_of_an_upload(colour: Colour) -> None:
    """Never within one, however little of it the socket took."""
    told = threading.Event()

    def script(served: Served2) -> None:
        asked = served.request()
        assert asked is not None
        served.answer(asked[0], b"first")
        served.connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 30})
        served.connection.increment_flow_control_window(1 << 30)
        served.flush()
        told.set()
        size = 0
        while not isinstance(event := served.next(), StreamEnded):
            if event is None:
                return
            if isinstance(event, DataReceived):
                size += event.flow_controlled_length
                if size < 1 << 20:
                    served.connection.ping(b"12345678")
                    served.flush()
        served.answer(event.stream_id, b"%d" % size)

    async def test(client: AnyClient) -> list[bytes]:
        first = (await client.get(URL)).content
        told.wait(5)
        return [first, (await client.request("POST", URL, content=BIG * 4)).content]

    with serving(h2(script)) as server:
        assert colour.run(mesh_of(server), test) == [b"first", b"%d" % (4 * len(BIG))]
        assert server.connections == 1


@every_colour
def test_a_peer_that_speaks_no_http2_is_a_protocol_error(colour: Colour) -> None:
    def script(served: object) -> None:
        served.recv()  # type: ignore[attr-defined]
        served.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")  # type: ignore[attr-defined]
        served.wait_until_gone()  # type: ignore[attr-defined]

    async def test(client: AnyClient) -> int:
        return (await client.get(URL)).status_code

    with serving(script) as server:
        assert colour.run(mesh_of(server), test) == 502


@every_colour
def test_an_early_answer_ends_the_upload(colour: Colour) -> None:
    def script(served: Served2) -> None:
        while not any(type(event).__name__ == "RequestReceived" for event in served.seen):
            assert served.next() is not None
        served.answer(1, b"too large", status=b"413")
        while served.next() is not None:
            pass

    async def test(client: AnyClient) -> tuple[int, bytes]:
        answer = await client.request("POST", URL, content=BIG)
        return answer.status_code, answer.content

    with serving(h2(script, grants=False)) as server:
        assert colour.run(mesh_of(server), test) == (413, b"too large")
