"""HTTP/2 without a socket: a peer in memory, whose frames are chosen one by one."""

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes

from meshsdk.call.message import Request, ResetReason
from meshsdk.upstream.head import request_fields
from meshsdk.upstream.http1 import MAX_HEAD
from meshsdk.upstream.http2 import WINDOW, Http2

_OK = [(b":status", b"200")]


def asked() -> tuple[Http2, H2Connection]:
    """A client that has sent a request, and a server that has it."""
    client = Http2()
    server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    server.initiate_connection()
    server.receive_data(client.outgoing())
    client.receive(server.data_to_send())
    client.begin("POST")
    head = request_fields(Request("POST", "shop", "/"), body_length=0)
    server.receive_data(client.whole(head, b""))
    return client, server


def test_a_server_is_told_what_it_may_send() -> None:
    _, server = asked()

    told = server.remote_settings
    assert told.enable_push == 0
    assert told.initial_window_size == WINDOW
    assert told[SettingCodes.MAX_HEADER_LIST_SIZE] == MAX_HEAD


def test_a_head_is_bounded_whatever_its_octets_compress_to() -> None:
    client, server = asked()
    small, large = [(b"x-a", b"a" * 40_000)] * 2, [(b"x-a", b"a" * 40_000)] * 3

    server.remote_settings[SettingCodes.MAX_HEADER_LIST_SIZE] = 1 << 20
    server.send_headers(1, [*_OK, *small])
    client.receive(server.data_to_send())
    within = client.is_head, client.failure
    client, server = asked()
    server.send_headers(1, [*_OK, *large])
    client.receive(server.data_to_send())

    assert within == (True, None)
    assert client.failure is not None
    assert client.failure.reason is ResetReason.PROTOCOL_ERROR
    assert not client.can_reuse


def test_a_request_that_the_peer_has_taken_is_not_told_to_be_untouched() -> None:
    """Whoever believed it would send it again."""
    client, server = asked()

    server.close_connection(last_stream_id=1)
    client.receive(server.data_to_send())

    assert client.failure is None
    assert not client.can_reuse
    client.receive_eof()
    assert client.failure is not None
    assert client.failure.reason is ResetReason.CONNECTION_TERMINATION


@pytest.mark.parametrize("status", [b"abc", b"", b"-5", b"+20", b"2_0", b"20", b"999999999"])
def test_a_status_that_is_none_is_a_protocol_error(status: bytes) -> None:
    client, server = asked()
    server.config.validate_outbound_headers = False

    server.send_headers(1, [(b":status", status)])
    client.receive(server.data_to_send())

    assert not client.is_head
    assert client.failure is not None
    assert client.failure.reason is ResetReason.PROTOCOL_ERROR
    assert not client.can_reuse


def test_interim_responses_without_end_are_a_protocol_error() -> None:
    client, server = asked()

    for _ in range(3):
        server.send_headers(1, [(b":status", b"103"), (b"link", b"a" * 30_000)])
    client.receive(server.data_to_send())
    within = client.failure
    server.send_headers(1, [(b":status", b"103"), (b"link", b"a" * 30_000)])
    client.receive(server.data_to_send())

    assert within is None
    assert client.failure is not None
    assert client.failure.reason is ResetReason.PROTOCOL_ERROR


def test_empty_frames_are_no_pieces_of_a_body() -> None:
    """They pass any window, so nothing may be kept of them."""
    client, server = asked()
    server.send_headers(1, _OK)
    for _ in range(100):
        server.send_data(1, b"")

    client.receive(server.data_to_send())

    assert (client.chunks, client.size, client.failure) == ([], 0, None)
