"""gRPC channels to control planes, certificate authorities and workload APIs."""

from dataclasses import dataclass
from typing import Final

import grpc

# A server's own limit still holds; an answer of a medium mesh is over gRPC's 4 MiB.
_UNLIMITED: Final = -1


@dataclass(frozen=True, slots=True)
class ChannelTls:
    """TLS towards a control plane. Everything is PEM."""

    roots: bytes | None = None
    """None: the roots that gRPC brings."""
    private_key: bytes | None = None
    certificate_chain: bytes | None = None
    """With `private_key` our client certificate."""
    server_name: str = ""
    """The DNS name to send as SNI and to verify, where the address is an IP or a tunnel."""


def open_channel(
    address: str,
    tls: ChannelTls | None,
    *,
    authority: str = "",
    keepalive: float | None = 30.0,
) -> grpc.Channel:
    """A channel of its own connection (it shares none with the application's channels).

    `address` is `host:port` or any gRPC target (`unix:///run/x.sock`); `tls` None is plaintext.
    `keepalive`: seconds between pings, None for none (a SPIRE agent ends a client that pings;
    istiod allows one in 15 s, FEED.md 1.1). Does not block: connecting starts with the first call.
    """
    options = _options(authority, keepalive)
    if tls is None:
        return grpc.insecure_channel(address, options)
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=tls.roots,
        private_key=tls.private_key,
        certificate_chain=tls.certificate_chain,
    )
    return grpc.secure_channel(address, credentials, options)


def _options(authority: str, keepalive: float | None) -> list[tuple[str, str | int]]:
    options: list[tuple[str, str | int]] = [
        ("grpc.max_receive_message_length", _UNLIMITED),
        ("grpc.max_send_message_length", _UNLIMITED),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),  # the caller judges each failure
        ("grpc.enable_http_proxy", 0),  # as Envoy: http_proxy is not for the mesh
        # The xDS machine backs off; the channel below it must not add minutes of its own.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    if authority:
        options.append(("grpc.default_authority", authority))
    if keepalive is not None:
        options += [
            ("grpc.keepalive_time_ms", int(keepalive * 1000)),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.max_pings_without_data", 0),  # an idle stream is the normal case
        ]
    return options
