"""What is suspicious about policies: findings for `meshsdk authz lint`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshsdk.cli.authz.cases import is_istio, texts_of
from meshsdk.config.yaml import load


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `code` names the check, `where` a file and line or a field path."""

    code: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.code}: {self.text}"


def lint(path: Path) -> list[Finding]:
    """The findings about a file or a folder; ConfigError where it cannot be read."""
    texts = texts_of(path)
    if is_istio(texts):
        return _istio(texts)
    from meshsdk.cli.authz.lint_envoy import lint_envoy

    return [
        finding for name, text in texts.items() for finding in lint_envoy(load(text, name), name)
    ]


def _istio(texts: Mapping[str, str]) -> list[Finding]:
    from meshsdk.cli.authz.lint_istio import lint_istio

    return lint_istio(texts)
