"""What a channel to a control plane or a CA presents. Files are read anew each time."""

from collections.abc import Iterable
from pathlib import Path

from meshsdk.config.bootstrap import Credentials
from meshsdk.errors import ConfigError
from meshsdk.wire.channel import ChannelTls


def channel_tls(credentials: Credentials) -> ChannelTls | None:
    """None: plaintext. OSError where a file cannot be read."""
    if not credentials.tls:
        return None
    return ChannelTls(
        roots=_read(credentials.root_file),
        private_key=_read(credentials.key_file),
        certificate_chain=_read(credentials.certificate_file),
        server_name=credentials.server_name,
    )


def call_metadata(credentials: Credentials) -> Iterable[tuple[str, str]]:
    """With the bearer token. OSError or ConfigError where its file cannot be read."""
    pairs = list(credentials.metadata)
    if credentials.token_file:
        try:
            token = Path(credentials.token_file).read_text(encoding="utf-8").strip()
        except UnicodeDecodeError as error:
            raise ConfigError(credentials.token_file, f"expected a token: {error}") from error
        pairs.append(("authorization", f"Bearer {token}"))
    return pairs


def _read(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None
