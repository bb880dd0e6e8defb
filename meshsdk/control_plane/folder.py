"""A folder of documents: its files' texts, and the configuration that they make."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.loader import Loaded, load
from meshsdk.control_plane.istio.registry_build import build_registry
from meshsdk.control_plane.istio.request_authentication import RequestAuthentication
from meshsdk.control_plane.key_sets import key_sets
from meshsdk.errors import UsageError

_SUFFIXES: Final = (".yaml", ".yml", ".json")
_REFUSED: Final = ".verbatim-refused.yaml"  # documents kept to show what istiod refuses


@dataclass(frozen=True, slots=True)
class Options:
    """What stands beside the documents."""

    jwks: Mapping[str, str] = field(default_factory=dict[str, str])
    """`jwksUri` to the key set itself, in place of a fetch."""
    ip_autoallocate: bool = False
    """Give services without address one of 240.240.0.0/16."""
    remote_jwks: bool = False
    """Leave the fetching of key sets to the proxies."""


def read_texts(folder: Path) -> dict[str, str]:
    """The texts of a folder's YAML and JSON files, in the order of their names. Folders inside it
    and hidden files are not read, nor are files whose name ends in `.verbatim-refused.yaml`."""
    try:
        files = sorted(
            each
            for each in folder.iterdir()
            if each.suffix in _SUFFIXES
            and not each.name.startswith(".")
            and not each.name.endswith(_REFUSED)
            and each.is_file()
        )
        return {str(each): each.read_text("utf-8", errors="surrogateescape") for each in files}
    except OSError as error:
        raise UsageError(f"cannot read {folder}: {error.strerror or error}") from error


def build_config(loaded: Loaded, options: Options = Options()) -> Config:
    """What translations read. Fetches key sets: blocks."""
    policies = loaded.all(RequestAuthentication)
    return Config(
        loaded,
        build_registry(loaded, ip_autoallocate=options.ip_autoallocate),
        key_sets(policies, options.jwks, is_remote=options.remote_jwks),
    )


def load_folder(folder: Path) -> Loaded:
    """The documents of a folder."""
    return load(read_texts(folder))
