"""A directory of YAML: its texts, and whether they have changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_REFUSED: Final = ".verbatim-refused.yaml"  # what istiod was recorded to refuse
_Stamp: TypeAlias = tuple[int, int, int]


def read_texts(directory: Path) -> dict[str, str]:
    """Every YAML and JSON file below a directory, path from it to text. Hidden ones are left out.

    OSError where it is no directory; a file that goes while it is read is left out. Bytes that are
    no UTF-8 become characters that no YAML has: the loader names the file.
    """
    found: dict[str, str] = {}
    for path in _files(directory):
        try:
            text = path.read_bytes().decode("utf-8", errors="surrogateescape")
        except FileNotFoundError:
            continue
        found[path.relative_to(directory).as_posix()] = text
    return found


def stamp(directory: Path) -> Mapping[str, _Stamp]:
    """What changes when a file is written, comes or goes; empty where there is no directory."""
    found: dict[str, _Stamp] = {}
    try:
        for path in _files(directory):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            found[str(path)] = stat.st_mtime_ns, stat.st_size, stat.st_ino
    except OSError:
        return {}
    return found


def _files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise NotADirectoryError(20, "expected a directory", str(directory))
    return sorted(
        path
        for path in directory.rglob("*")
        if path.suffix in _SUFFIXES
        and not path.name.endswith(_REFUSED)
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
        and path.is_file()
    )
