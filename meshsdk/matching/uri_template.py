"""envoy.extensions.path.match.uri_template.v3 and its rewrite."""

from collections.abc import Mapping
from dataclasses import dataclass

from meshsdk.config.reader import Reader


@dataclass(frozen=True, slots=True)
class UriTemplate:
    """A compiled path template: `*` one segment, `**` the rest, `{name}` a captured segment."""

    text: str

    def matches(self, path: str) -> bool:
        """Whether a path without query matches."""
        raise NotImplementedError

    def variables(self, path: str) -> Mapping[str, str] | None:
        """What the variables captured; None where the path does not match."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class UriRewrite:
    """A compiled `path_template_rewrite`."""

    text: str

    def apply(self, variables: Mapping[str, str]) -> str:
        """The new path."""
        raise NotImplementedError


def parse_uri_template(reader: Reader) -> UriTemplate:
    """The template of a UriTemplateMatchConfig."""
    raise NotImplementedError


def parse_uri_rewrite(reader: Reader, template: UriTemplate) -> UriRewrite:
    """The rewrite of a UriTemplateRewriteConfig; ConfigError for a variable that is not captured."""
    raise NotImplementedError
