"""Key sets over real HTTP on loopback."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from meshsdk.control_plane.istio.request_authentication import JwtRule
from meshsdk.control_plane.key_set_fetcher import KeySetFetcher
from meshsdk.control_plane.key_sets import fetch
from meshsdk.identity.token_key import TokenKey
from meshsdk.testing.clock import FakeClock

PATIENCE = 10.0
KEYS = TokenKey.generate().jwks.decode()


class Pages(ThreadingHTTPServer):
    """Answers each path with what the test put there; 404 else."""

    daemon_threads = True

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.slow_ends = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Pages)
        if self.path == "/slow":
            self.server.slow_ends.wait(PATIENCE)
        body = self.server.texts.get(self.path, "").encode()
        self.send_response(200 if body else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's
        pass


@pytest.fixture
def pages() -> Iterator[Pages]:
    server = Pages()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def end_of_fetches() -> None:
    """Wait for those that have begun."""
    for thread in threading.enumerate():
        if thread.name == "meshsdk-key-set":
            thread.join(PATIENCE)


def a_fetcher(given: dict[str, str]) -> tuple[KeySetFetcher, threading.Event]:
    news = threading.Event()
    return KeySetFetcher(given, FakeClock(), news.set), news


def test_a_key_set_comes_without_waiting_for_it(pages: Pages) -> None:
    pages.texts["/jwks"] = KEYS
    fetcher, news = a_fetcher({})
    rule = JwtRule("https://issuer", jwks_uri=f"{pages.url}/jwks")

    at_once = fetcher(rule)
    came = news.wait(PATIENCE)
    later = fetcher(rule)
    fetcher.stop()

    assert (at_once, came, later) == (None, True, KEYS)


def test_an_issuer_tells_where_its_key_set_is(pages: Pages) -> None:
    pages.texts["/.well-known/openid-configuration"] = f'{{"jwks_uri": "{pages.url}/jwks"}}'
    pages.texts["/jwks"] = KEYS
    fetcher, news = a_fetcher({})
    rule = JwtRule(pages.url)

    fetcher(rule)
    assert news.wait(PATIENCE)
    fetcher.stop()

    assert fetcher(rule) == KEYS


def test_what_is_given_is_not_fetched() -> None:
    fetcher, _ = a_fetcher({"https://auth.example/jwks": KEYS})

    assert fetcher(JwtRule("https://issuer", jwks_uri="https://auth.example/jwks")) == KEYS
    fetcher.stop()


def test_a_slow_server_keeps_no_other_key_set_from_coming(pages: Pages) -> None:
    pages.texts["/slow"] = pages.texts["/good"] = KEYS
    fetcher, news = a_fetcher({})
    slow, good = (
        JwtRule("https://issuer", jwks_uri=f"{pages.url}/{name}", timeout=PATIENCE)
        for name in ("slow", "good")
    )

    fetcher(slow)
    fetcher(good)
    came = news.wait(PATIENCE / 2)
    found = fetcher(slow), fetcher(good)
    pages.slow_ends.set()
    fetcher.stop()

    assert (came, found) == (True, (None, KEYS))


def test_what_is_no_key_set_is_none(pages: Pages) -> None:
    pages.texts["/good"], pages.texts["/bad"] = KEYS, '{"keys": []}'
    fetcher, news = a_fetcher({})
    bad = JwtRule("https://issuer", jwks_uri=f"{pages.url}/bad")

    fetcher(bad)
    fetcher(JwtRule("https://issuer", jwks_uri=f"{pages.url}/good"))  # begun after it
    assert news.wait(PATIENCE)
    end_of_fetches()
    fetcher.stop()

    assert fetcher(bad) is None


def test_an_issuer_points_at_no_file_of_ours(pages: Pages, tmp_path: Path) -> None:
    local = tmp_path / "jwks"
    local.write_text(KEYS)
    said = f'{{"jwks_uri": "{local.as_uri()}"}}'
    pages.texts["/.well-known/openid-configuration"] = said

    assert fetch(JwtRule("https://issuer", jwks_uri=local.as_uri())) is None
    assert fetch(JwtRule(pages.url)) is None


def test_an_answer_of_any_depth_is_none(pages: Pages) -> None:
    pages.texts["/jwks"] = '{"keys": ' + "[" * 200_000
    pages.texts["/.well-known/openid-configuration"] = "[" * 200_000

    assert fetch(JwtRule("https://issuer", jwks_uri=f"{pages.url}/jwks")) is None
    assert fetch(JwtRule(pages.url)) is None


def test_a_key_set_is_a_mebibyte_at_most(pages: Pages) -> None:
    pages.texts["/jwks"] = KEYS.ljust(1 << 20)
    pages.texts["/more"] = " " * (1 << 20) + KEYS

    assert fetch(JwtRule("https://issuer", jwks_uri=f"{pages.url}/jwks")) is not None
    assert fetch(JwtRule("https://issuer", jwks_uri=f"{pages.url}/more")) is None


def test_a_key_set_stays_while_its_server_fails(pages: Pages) -> None:
    pages.texts["/jwks"] = KEYS
    clock, came = FakeClock(), threading.Event()
    fetcher = KeySetFetcher({}, clock, came.set)
    rule = JwtRule("https://issuer", jwks_uri=f"{pages.url}/jwks")
    fetcher(rule)
    assert came.wait(PATIENCE)

    pages.texts.clear()
    clock.advance(1201.0)
    came.clear()
    pages.texts["/other"] = KEYS
    fetcher(JwtRule("https://issuer", jwks_uri=f"{pages.url}/other"))  # wakes it; begun last
    assert came.wait(PATIENCE)
    end_of_fetches()
    fetcher.stop()

    assert fetcher(rule) == KEYS
