"""The body of a shadow request: it never holds up the call."""

import pytest

from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.body_copy import CopyDropped, ThreadCopy


def pulled(body: RequestBody, *chunks: bytes) -> None:
    for chunk in chunks:
        body.pulled_one(chunk)


def test_a_copy_has_what_was_pulled_before_and_after() -> None:
    body, copy = RequestBody(source=iter(())), ThreadCopy()
    pulled(body, b"a", b"b")
    body.copy_to(copy)
    pulled(body, b"c")
    body.ended()

    assert list(copy) == [b"a", b"b", b"c"]


def test_a_copy_goes_on_where_the_body_outgrew_its_replay_buffer() -> None:
    body, copy = RequestBody(source=iter(()), limit=3), ThreadCopy()
    body.copy_to(copy)
    pulled(body, b"four", b"more")
    body.ended()

    assert not body.is_replayable
    assert b"".join(copy) == b"fourmore"


def test_a_shadow_that_takes_nothing_is_given_up() -> None:
    body, copy = RequestBody(source=iter(())), ThreadCopy()
    body.copy_to(copy)
    pulled(body, *[b"x" * (1 << 20)] * 5)

    with pytest.raises(CopyDropped):
        next(iter(copy))


def test_a_call_that_ends_early_ends_its_copies() -> None:
    body, copy = RequestBody(source=iter(())), ThreadCopy()
    body.copy_to(copy)
    body.end_copies()

    with pytest.raises(CopyDropped):
        next(iter(copy))
