"""The recorded frames and states of a real istiod 1.29.6, for every test that wants real input.

What is in them: tests/data/istiod/README.md. Everything given is shared: change a copy.
"""

import json
import lzma
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, TypeAlias

Variant: TypeAlias = Literal["delta", "sotw"]
State: TypeAlias = Mapping[str, Mapping[str, Mapping[str, object]]]
"""`CDS`, `LDS` ... to name to resource, snake_case proto-JSON as it was recorded."""

_PACKED = Path(__file__).parent / "data" / "istiod" / "recordings.tar.xz"
_KINDS = ("sidecar-", "router-", "grpc-")


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of a recorded stream, or its end."""

    seconds: float
    direction: Literal["out", "in", "end"]
    """`out`: from the client to istiod."""
    type_url: str
    raw: bytes
    """The serialized (Delta)Discovery(Request|Response); empty at the end."""
    end: Mapping[str, object]
    """How the stream ended: the gRPC status, and `by: client` when we hung up."""


def streams() -> Iterator[tuple[str, str, Variant]]:
    """Every recorded stream: folder, node, variant."""
    for path in _index()["streams"]:
        folder, _, name = path.rpartition("/")
        node, _, variant = name.rpartition(".")
        yield folder, node, variant


def stream(folder: str, node: str, variant: Variant) -> list[Frame]:
    """The frames of a stream in order; `node` as in `streams()`, or without `sidecar-`."""
    return [_frame(*line) for line in _find("streams", folder, f"{node}.{variant}")]


def states() -> Iterator[tuple[str, str, State]]:
    """Every recorded final state: folder, node, state."""
    for path in _index()["states"]:
        folder, _, node = path.rpartition("/")
        yield folder, node, state(folder, node)


def state(folder: str, node: str) -> State:
    """The final state of a node's streams."""
    return {
        short: {name: _resource(number) for name, number in named.items()}
        for short, named in _find("states", folder, node).items()
    }


def node(folder: str, name: str) -> Mapping[str, object]:
    """The `config.core.v3.Node` that was sent, proto-JSON; `name` as in `streams()`."""
    bare = next((name.removeprefix(kind) for kind in _KINDS if name.startswith(kind)), name)
    found: Mapping[str, object] = _index()["nodes"][f"{folder}/node-{bare}"]
    return found


def _find(kind: str, folder: str, name: str) -> Any:
    recorded = _index()[kind]
    return recorded.get(f"{folder}/{name}") or recorded[f"{folder}/sidecar-{name}"]


def _frame(seconds: float, direction: Any, type_url: str, rest: Any) -> Frame:
    if direction == "end":
        return Frame(seconds, "end", type_url, b"", rest)
    start, stop = _bounds()[rest : rest + 2]
    return Frame(seconds, direction, type_url, _files()["frames.bin"][start:stop], {})


@cache
def _files() -> Mapping[str, bytes]:
    with lzma.open(_PACKED) as packed, tarfile.open(fileobj=packed) as tar:
        members = ((entry.name, tar.extractfile(entry)) for entry in tar)
        return {name: file.read() for name, file in members if file is not None}


@cache
def _index() -> Any:
    return json.loads(_files()["index.json"])


@cache
def _bounds() -> list[int]:
    return [0, *accumulate(json.loads(_files()["frames.json"]))]


@cache
def _lines() -> list[bytes]:
    return _files()["resources.jsonl"].split(b"\n")


@cache
def _resource(number: int) -> Mapping[str, object]:
    found: Mapping[str, object] = json.loads(_lines()[number])
    return found
