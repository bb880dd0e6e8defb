"""How a route rewrites path and host. Source: envoy.config.route.v3.RouteAction."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import lower, octets
from meshsdk.matching.regex import Substitution, parse_substitution
from meshsdk.matching.uri_template import UriRewrite, parse_uri_rewrite
from meshsdk.resources.route_match import RouteMatch
from meshsdk.resources.substitution_format import Format, parse_format

URI_TEMPLATE_REWRITE: Final = (
    "type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig"
)
PATH_REWRITE_POLICY: Final = MessageTable(
    "envoy.config.core.v3.TypedExtensionConfig", honoured("name", "typed_config")
)
TABLES: Final = (PATH_REWRITE_POLICY,)
_PATH_FIELDS: Final = ("prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite")


@dataclass(frozen=True, slots=True)
class PrefixRewrite:
    """The matched part of the path becomes `text`."""

    text: str


@dataclass(frozen=True, slots=True)
class RegexRewrite:
    """Every match in the path is replaced."""

    substitution: Substitution


@dataclass(frozen=True, slots=True)
class TemplateRewrite:
    """The path is built from what the route's template captured."""

    rewrite: UriRewrite


@dataclass(frozen=True, slots=True)
class FormatRewrite:
    """The path is a substitution format's text; the query stays."""

    text: Format


PathRewrite: TypeAlias = PrefixRewrite | RegexRewrite | TemplateRewrite | FormatRewrite


@dataclass(frozen=True, slots=True)
class HostLiteral:
    """host_rewrite_literal."""

    text: str


@dataclass(frozen=True, slots=True)
class HostFromHeader:
    """host_rewrite_header: nothing happens where the field is missing or empty."""

    name: str


@dataclass(frozen=True, slots=True)
class HostFromPath:
    """host_rewrite_path_regex: applied to the path without query."""

    substitution: Substitution


@dataclass(frozen=True, slots=True)
class HostFormat:
    """host_rewrite: a substitution format."""

    text: Format


@dataclass(frozen=True, slots=True)
class HostOfEndpoint:
    """auto_host_rewrite: the endpoint's host name, known when it was picked."""


HostRewrite: TypeAlias = HostLiteral | HostFromHeader | HostFromPath | HostFormat | HostOfEndpoint


def parse_path_rewrite(reader: Reader, match: RouteMatch) -> PathRewrite | None:
    """The path rewrite of a RouteAction or RedirectAction; None when there is none."""
    found = [name for name in _PATH_FIELDS if reader.has(name) and reader.value[name] != ""]
    if len(found) > 1:
        raise reader.error(
            f"expected only one of {', '.join(_PATH_FIELDS)}, found {', '.join(found)}"
        )
    if not found:
        return None
    match found[0]:
        case "prefix_rewrite":
            if match.template is not None:
                raise reader.error("a match with path_match_policy allows no prefix_rewrite")
            return PrefixRewrite(octets(reader.string("prefix_rewrite")))
        case "regex_rewrite":
            return RegexRewrite(parse_substitution(reader.required_message("regex_rewrite")))
        case "path_rewrite":
            path = f"{reader.path}.path_rewrite"
            return FormatRewrite(parse_format(reader.string("path_rewrite"), path))
        case _:
            return _template(reader.required_message("path_rewrite_policy"), match)


def _template(reader: Reader, match: RouteMatch) -> TemplateRewrite:
    check(reader, PATH_REWRITE_POLICY)
    config = reader.typed("typed_config")
    if config is None or config.type_url != URI_TEMPLATE_REWRITE:
        found = "none" if config is None else config.type_url
        raise reader.error_at("typed_config", f"expected {URI_TEMPLATE_REWRITE}, found {found}")
    if match.template is None:
        raise reader.error("a template rewrite needs a match with path_match_policy")
    return TemplateRewrite(parse_uri_rewrite(config, match.template))


def parse_host_rewrite(reader: Reader) -> HostRewrite | None:
    """The host rewrite of a RouteAction; None when there is none."""
    kind = reader.one_of(
        "host_rewrite_literal",
        "auto_host_rewrite",
        "host_rewrite_header",
        "host_rewrite_path_regex",
        "host_rewrite",
    )
    match kind:
        case "host_rewrite_literal":
            text = octets(reader.string(kind))
            return HostLiteral(text) if text else None
        case "auto_host_rewrite":
            return HostOfEndpoint() if reader.boolean(kind) else None
        case "host_rewrite_header":
            name = lower(octets(reader.string(kind)))
            return HostFromHeader(name) if name else None
        case "host_rewrite_path_regex":
            return HostFromPath(parse_substitution(reader.required_message(kind)))
        case "host_rewrite":
            text = reader.string(kind)
            return HostFormat(parse_format(text, f"{reader.path}.{kind}")) if text else None
        case _:
            return None
