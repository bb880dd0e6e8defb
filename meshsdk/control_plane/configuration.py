"""The configuration in force: what the files say, where they are bad what they said last."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from meshsdk.control_plane.folder import read_texts
from meshsdk.control_plane.istio.authn import FetchedJwks, KeySets
from meshsdk.control_plane.istio.authz import IstioVersion
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.documents import Problem
from meshsdk.control_plane.istio.loader import Loaded, Loader
from meshsdk.control_plane.istio.registry_build import build_registry
from meshsdk.identity.unusable_jwks import make_unusable_jwks

_LOG = logging.getLogger("meshsdk.control_plane")


@dataclass(frozen=True, slots=True)
class Translation:
    """What istiod has flags for."""

    istio_version: IstioVersion = "1.29"
    ip_autoallocate: bool = False
    remote_jwks: bool = False


class Configuration:
    """Read anew by `reload`, from one thread at a time."""

    def __init__(
        self,
        directory: Path,
        fetched: FetchedJwks,
        translation: Translation = Translation(),
        others: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """`others` are texts that do not lie in the directory. Nothing is read yet."""
        self._directory = directory
        self._translation = translation
        self._others = others
        self._key_sets = KeySets(fetched, make_unusable_jwks(), translation.remote_jwks)
        self._loader = Loader()
        self._said: frozenset[str] = frozenset()
        self.problems: tuple[Problem, ...] = ()
        """Of the files as they are now."""
        self.config = self._config(Loaded())

    def reload(self) -> None:
        """Read every file. UsageError where the directory cannot be read; what was good last then stays."""
        texts = {**read_texts(self._directory), **self._others()}
        loaded = self._loader.load(texts)
        self.problems = loaded.problems
        self.config = self._config(loaded.with_last_good(self.config.loaded))
        self._tell()

    def _config(self, loaded: Loaded) -> Config:
        allocates = self._translation.ip_autoallocate
        registry = build_registry(loaded, ip_autoallocate=allocates)
        return Config(loaded, registry, self._key_sets, self._translation.istio_version)

    def again(self) -> None:
        """The same documents: a key set has come, so nothing that was made of them holds."""
        self.config = replace(self.config)

    def _tell(self) -> None:
        """Each problem once, for as long as it is there."""
        said = frozenset(str(problem) for problem in self.problems)
        for problem in self.problems:
            if str(problem) not in self._said:
                level = logging.INFO if problem.severity == "info" else logging.WARNING
                _LOG.log(level, "%s: %s", problem.severity, problem)
        self._said = said
