"""The Istio YAML that the recorded istiod had, by the folders of `tests/recordings.py`."""

import lzma
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_PACKED = Path(__file__).parent / "data" / "istiod" / "inputs.tar.xz"


def inputs(folder: str) -> dict[str, str]:
    """The files of a recording, name to text, as they were at the beginning. What istiod refused
    (`*.verbatim-refused.yaml`) is left out."""
    return {
        name: text
        for name, text in _of(folder).items()
        if not name.startswith("steps/") and not name.endswith(".verbatim-refused.yaml")
    }


def steps(folder: str) -> dict[str, str]:
    """The files that were written later, in order: `02-workloads.yaml` replaces workloads.yaml."""
    found = sorted((name, text) for name, text in _of(folder).items() if name.startswith("steps/"))
    return {name.removeprefix("steps/"): text for name, text in found}


def _of(folder: str) -> Mapping[str, str]:
    prefix = f"{folder}/input/"
    return {
        name.removeprefix(prefix): text
        for name, text in _files().items()
        if name.startswith(prefix)
    }


@cache
def _files() -> Mapping[str, str]:
    with lzma.open(_PACKED) as packed, tarfile.open(fileobj=packed) as tar:
        members = ((entry.name, tar.extractfile(entry)) for entry in tar)
        return {name: file.read().decode() for name, file in members if file is not None}
