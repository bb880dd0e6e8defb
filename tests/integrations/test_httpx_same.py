"""What a caller sees through the mesh is what plain httpx shows, octet by octet."""

import gzip
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx
import pytest

from tests.upstream.colours import AnyClient, Colour, Seen, every_colour
from tests.upstream.one_cluster import OneCluster, http_flow, tcp_flow
from tests.upstream.raw_server import OK, RawServer, Script, Served, answering, serving

Content = Callable[[AnyClient], object]
_BIG = bytes(range(256)) * 4096


def _head(rest: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + rest


def _chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return _head(b"Transfer-Encoding: chunked\r\n\r\n") + body + b"0\r\n" + trailers + b"\r\n"


def _slow(*parts: bytes) -> Script:
    """Parts that arrive apart: each waits until the network had time for the one before."""

    def script(served: Served) -> None:
        served.head()
        for part in parts:
            served.send(part)
            threading.Event().wait(0.02)

    return script


def _early(served: Served) -> None:
    served.head()
    served.send(_head(b"Content-Length: 8\r\nConnection: close\r\n\r\n", b"413 Too Large"))
    served.send(b"too much")
    while served.recv():
        pass


def _echo(served: Served) -> None:
    head = served.head()
    if b"chunked" in head.lower():
        body = served.chunked_body()
    else:
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = served.body(length)
    served.send(_head(b"Content-Length: %d\r\n\r\n" % len(body)) + body)


def _cut(data: bytes) -> Script:
    def script(served: Served) -> None:
        served.head()
        served.send(data)

    return script


def _reset(data: bytes) -> Script:
    def script(served: Served) -> None:
        served.head()
        if data:
            served.send(data)
            threading.Event().wait(0.02)
        served.reset()

    return script


def _silent(served: Served) -> None:
    served.head()
    served.wait_until_gone()


@dataclass(frozen=True)
class Case:
    """A server's script and a request."""

    name: str
    script: Script
    method: str = "GET"
    content: Content = lambda client: None
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    fails: str = ""
    """The exception that plain httpx raises; empty: it answers."""


CASES = (
    Case("content-length", answering(OK)),
    Case("empty", answering(_head(b"Content-Length: 0\r\n\r\n"))),
    Case("head and body apart", _slow(_head(b"Content-Length: 4\r\n\r\n"), b"he", b"re")),
    Case("head in pieces", _slow(b"HTTP/1.1 2", b"00 OK\r\nContent-", b"Length: 2\r\n\r\nhi")),
    Case("big", answering(_head(b"Content-Length: %d\r\n\r\n" % len(_BIG)) + _BIG)),
    Case("chunked", answering(_chunked(b"hello ", b"world"))),
    Case("chunked, empty", answering(_chunked())),
    Case("trailers", answering(_chunked(b"hi", trailers=b"X-Sum: 1\r\n"))),
    Case("until the end", answering(_head(b"X-A: b\r\n\r\n") + b"all of it", close=True)),
    Case("until the end, later", _slow(_head(b"\r\n"), b"all ", b"of it")),
    Case("HTTP/1.0", answering(b"HTTP/1.0 200 OK\r\n\r\nold", close=True)),
    Case("HTTP/1.0 with length", answering(b"HTTP/1.0 200 Fine\r\nContent-Length: 3\r\n\r\nold")),
    Case("HEAD", answering(_head(b"Content-Length: 9\r\n\r\n")), "HEAD"),
    Case("HEAD, chunked", answering(_head(b"Transfer-Encoding: chunked\r\n\r\n")), "HEAD"),
    Case("204", answering(_head(b"X-A: b\r\n\r\n", b"204 No Content"))),
    Case("304 with length", answering(_head(b"Content-Length: 9\r\n\r\n", b"304 Not Modified"))),
    Case("100 first", answering(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)),
    Case("103 first", answering(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)),
    Case("connection: close", answering(_head(b"Connection: close\r\nContent-Length: 1\r\n\r\n1"))),
    Case("reason phrase", answering(_head(b"Content-Length: 0\r\n\r\n", b"299 As You Like It"))),
    Case("no reason phrase", answering(b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n")),
    Case("odd case", answering(_head(b"cOnTent-lEngth: 1\r\nX-ODD: yES\r\n\r\n1"))),
    Case("two cookies", answering(_head(b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"))),
    Case("latin-1 value", answering(_head(b"X-Name: J\xf6rg\r\nContent-Length: 0\r\n\r\n"))),
    Case(
        "gzip",
        answering(
            _head(b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzip.compress(b"packed", mtime=0)))
            + gzip.compress(b"packed", mtime=0)
        ),
    ),
    Case("a status above 599", answering(_head(b"Content-Length: 0\r\n\r\n", b"799 Odd"))),
    Case("post", _echo, "POST", lambda client: b"a body"),
    Case("post, nothing", _echo, "POST", lambda client: b""),
    Case("post, in pieces", _echo, "POST", lambda client: client.content(b"one ", b"", b"two")),
    Case("put, big", _echo, "PUT", lambda client: _BIG),
    Case("post, big, in pieces", _echo, "POST", lambda client: client.content(*[_BIG[:70000]] * 20)),
    Case(
        "post, declared, in pieces",
        _echo,
        "POST",
        lambda client: client.content(b"one ", b"two"),
        {"headers": {"content-length": "7"}},
    ),
    Case("early answer", _early, "POST", lambda client: b"x" * 100),
    Case("a method of its own", answering(OK), "BREW"),
    Case("query and escapes", answering(OK), options={"params": {"q": "a b&c", "ü": "%2F"}}),
    Case("headers of the caller", answering(OK), options={"headers": {"X-MiXed": "1", "Host": "other:81", "Connection": "close"}}),
    # What fails in plain httpx fails in the same way.
    Case("cut body", _cut(_head(b"Content-Length: 9\r\n\r\nhalf")), fails="RemoteProtocolError"),
    Case("cut chunk", _cut(_head(b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf")), fails="RemoteProtocolError"),
    Case("cut before the head", _cut(b""), fails="RemoteProtocolError"),
    Case("cut inside the head", _cut(b"HTTP/1.1 200 OK\r\nX-A"), fails="RemoteProtocolError"),
    Case("no HTTP", _cut(b"SSH-2.0-OpenSSH_9.6\r\n"), fails="RemoteProtocolError"),
    Case("bad chunk", answering(_head(b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")), fails="RemoteProtocolError"),
    Case("two lengths", answering(_head(b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n12")), fails="RemoteProtocolError"),
    Case("reset before the head", _reset(b""), fails="ReadError"),
    Case("reset inside the body", _reset(_head(b"Content-Length: 9\r\n\r\nhalf")), fails="ReadError"),
    Case("silence", _silent, options={"timeout": httpx.Timeout(5.0, read=0.05)}, fails="ReadTimeout"),
    Case(
        "silence inside the body",
        answering(_head(b"Content-Length: 9\r\n\r\nhalf")),
        options={"timeout": httpx.Timeout(5.0, read=0.05)},
        fails="ReadTimeout",
    ),
    Case(
        "less than declared",
        _silent,
        "POST",
        lambda client: client.content(b"short"),
        {"headers": {"content-length": "9"}},
        "LocalProtocolError",
    ),
    Case(
        "more than declared",
        _silent,
        "POST",
        lambda client: client.content(b"much too long"),
        {"headers": {"content-length": "9"}},
        "LocalProtocolError",
    ),
    Case("a line break in a value", _silent, options={"headers": {"x-a": "b\r\nx-c: d"}}, fails="LocalProtocolError"),
    Case("a space in a name", _silent, options={"headers": {"x a": "b"}}, fails="LocalProtocolError"),
)  # fmt: skip


async def _seen(client: AnyClient, server: RawServer, case: Case) -> Seen:
    url = f"http://127.0.0.1:{server.address.port}/path"
    options = dict(case.options)
    content = case.content(client)
    if content is not None:
        options["content"] = content
    try:
        response = await client.request(case.method, url, **options)
    except Exception as error:  # httpx lets h11's LocalProtocolError through: the name counts
        return Seen(error=type(error).__name__)
    return Seen.of(response, response.content)


def _of(case: Case, colour: Colour, through: bool) -> tuple[Seen, list[bytes]]:
    with serving(case.script) as server:
        mesh = OneCluster(server.address, flow=tcp_flow) if through else None
        seen = colour.run(mesh, lambda client: _seen(client, server, case))
        port = b"%d" % server.address.port
        return seen, [head.replace(port, b"PORT") for head in server.heads]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@every_colour
def test_through_tcp_proxy_everything_is_as_in_plain_httpx(case: Case, colour: Colour) -> None:
    plain, plain_heads = _of(case, colour, through=False)
    assert plain.error == case.fails

    through, heads = _of(case, colour, through=True)

    assert through == plain
    assert heads == plain_heads or case.fails


@pytest.mark.parametrize("case", [c for c in CASES if not c.fails], ids=lambda case: case.name)
@every_colour
def test_through_a_connection_manager_answers_are_as_in_plain_httpx(
    case: Case, colour: Colour
) -> None:
    plain = _of(case, colour, through=False)[0]

    with serving(case.script) as server:
        mesh = OneCluster(server.address, flow=http_flow)
        through = colour.run(mesh, lambda client: _seen(client, server, case))

    assert through == plain
    assert [end.reset for end in mesh.ends] == [None]
    assert mesh.ends[0].bytes_sent == len(through.body) or case.name == "gzip"
