"""Packs a folder of istiod recordings into tests/data/istiod/recordings.tar.xz.

    python tools/pack_recordings.py RECORDINGS_FOLDER

Frames and resources that occur in several recordings are kept once. What is in it, and how
it is read: tests/data/istiod/README.md, tests/recordings.py.
"""

import base64
import gzip
import io
import json
import lzma
import sys
import tarfile
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "tests" / "data" / "istiod" / "recordings.tar.xz"


class Store:
    """Distinct byte strings, one after another, found by number."""

    def __init__(self) -> None:
        self.items: dict[bytes, int] = {}

    def add(self, item: bytes) -> int:
        return self.items.setdefault(item, len(self.items))


def main(source: Path) -> None:
    frames, resources = Store(), Store()
    streams = {
        str(path.relative_to(source)).removesuffix(".jsonl.gz"): read_stream(path, frames)
        for path in sorted(source.rglob("*.jsonl.gz"))
    }
    states = {
        str(path.relative_to(source)).removesuffix(".json.gz"): read_state(path, resources)
        for path in sorted(source.rglob("*.json.gz"))
        if path.name.startswith(("sidecar-", "grpc-", "router-"))
    }
    nodes = {
        str(path.relative_to(source).with_suffix("")): json.loads(path.read_text())
        for path in sorted(source.rglob("node-*.json"))
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    packer = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 64 << 20}
    with (
        lzma.open(TARGET, "wb", filters=[packer]) as file,
        tarfile.open(fileobj=file, mode="w") as tar,
    ):
        put(tar, "index.json", text({"streams": streams, "states": states, "nodes": nodes}))
        put(tar, "frames.json", text([len(item) for item in frames.items]))
        put(tar, "frames.bin", b"".join(frames.items))
        put(tar, "resources.jsonl", b"\n".join(resources.items))
    sys.stdout.write(
        f"{len(streams)} streams, {len(states)} states, {TARGET.stat().st_size} bytes\n"
    )


def read_stream(path: Path, frames: Store) -> list[list[object]]:
    """[seconds, direction, type URL, frame number] a line; the last has its end instead."""
    lines: list[list[object]] = []
    for line in gzip.decompress(path.read_bytes()).splitlines():
        frame = json.loads(line)
        if frame["dir"] == "end":
            lines.append([frame["t"], "end", frame["type_url"], frame["summary"]])
        else:
            number = frames.add(base64.b64decode(frame["raw"]))
            lines.append([frame["t"], frame["dir"], frame["type_url"], number])
    return lines


def read_state(path: Path, resources: Store) -> dict[str, dict[str, int]]:
    state = json.loads(gzip.decompress(path.read_bytes()))
    return {
        short: {name: resources.add(text(resource)) for name, resource in named.items()}
        for short, named in state.items()
    }


def text(data: object) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
