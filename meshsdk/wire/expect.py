"""What JSON data must be, and what an error says when it is something else."""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from meshsdk.config.kinds import kind_of
from meshsdk.errors import ConfigError

MAX_DEPTH: Final = 100
"""Messages within a message, as protobuf's parsers take. An Any starts anew, as on the wire."""


def mapping(data: object, path: str, expected: str) -> Mapping[object, object]:
    """An object of any keys; ConfigError otherwise."""
    if not isinstance(data, Mapping):
        raise ConfigError(path, f"expected {expected}, found {kind_of(data)}")
    return cast("Mapping[object, object]", data)


def sequence(data: object, path: str) -> Sequence[object]:
    """A list; ConfigError otherwise."""
    if not isinstance(data, list | tuple):
        raise ConfigError(path, f"expected a list, found {kind_of(data)}")
    return cast("Sequence[object]", data)


def listed(data: object) -> Sequence[object]:
    """A list, or a list of the one value that stands in its place: Envoy takes that, and so do
    the files that people have."""
    return cast("Sequence[object]", data) if isinstance(data, list | tuple) else (data,)


def check_depth(depth: int, path: str) -> None:
    """ConfigError for what no protobuf parser would read again."""
    if depth > MAX_DEPTH:
        raise ConfigError(path, f"nested more than {MAX_DEPTH} levels deep")
