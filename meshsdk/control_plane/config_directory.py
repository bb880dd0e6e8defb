"""Whether a directory of YAML has changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Stamp: TypeAlias = Mapping[str, tuple[int, int, int]]


def stamp(directory: Path) -> Stamp:
    """What changes when a file is written, comes or goes; empty where there is no directory."""
    found: dict[str, tuple[int, int, int]] = {}
    try:
        for path in directory.iterdir():
            if path.name.startswith("."):
                continue
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            found[path.name] = stat.st_mtime_ns, stat.st_size, stat.st_ino
    except OSError:
        return {}
    return found
