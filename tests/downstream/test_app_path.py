"""The path of the application has the segments that policy saw (THREATS P9)."""

import pytest

from meshsdk.downstream.app_path import decoded, decoded_octets, hides_separators
from tests.integrations.asgi_server import scope_of as scope
from tests.integrations.asgi_server import serve


@pytest.mark.parametrize(
    ("raw", "text", "octets"),
    [
        ("/a", "/a", "/a"),
        ("/a%20b", "/a b", "/a b"),
        ("/public/..%2fadmin", "/public/..%2fadmin", "/public/..%2fadmin"),
        ("/a%2Fb%5cc%5C%41", "/a%2Fb%5cc%5CA", "/a%2Fb%5cc%5CA"),
        ("/%c3%a9", "/é", "/\xc3\xa9"),
        ("/%ff", "/\N{REPLACEMENT CHARACTER}", "/\xff"),
        ("/%", "/%", "/%"),
    ],
)
def test_everything_is_decoded_but_separators(raw: str, text: str, octets: str) -> None:
    assert decoded(raw) == text
    assert decoded_octets(raw) == octets


def test_only_escaped_separators_hide() -> None:
    assert hides_separators("/a%2Fb")
    assert hides_separators("/a%5cb")
    assert not hides_separators("/a%20b/%252f")


def test_an_asgi_application_is_not_handed_a_segment_more_than_was_judged() -> None:
    given = scope("/x", extra={"raw_path": b"/public/..%2fadmin", "path": "/public/../admin"})

    _, app, mesh = serve(given)

    assert mesh.requests[0].path == "/public/..%2fadmin"
    assert app.scope["path"] == "/public/..%2fadmin"
    assert app.scope["raw_path"] == b"/public/..%2fadmin"
