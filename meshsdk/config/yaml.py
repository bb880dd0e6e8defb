"""YAML as configuration: duplicate keys refused, errors with line and column, no aliases to bomb."""

from typing import cast

import yaml
from yaml.constructor import ConstructorError

from meshsdk.errors import ConfigError

_MAX_ALIASES = 100
_MAX_CHARACTERS = 64 << 20


# The parser in C where PyYAML has it: ten times faster.
_BASE: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Refuses what YAML allows and configuration must not.
_Loader = cast("type[yaml.SafeLoader]", type("_Loader", (_BASE,), {}))


def _mapping(loader: yaml.SafeLoader, node: yaml.Node) -> object:
    assert isinstance(node, yaml.MappingNode)
    seen: set[object] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise _error("a key must be a word", key_node)
        key: object = loader.construct_object(key_node, deep=True)  # pyright: ignore[reportUnknownMemberType] - of the stubs
        if key in seen:
            raise _error(f"the key {key!r} is there twice", key_node)
        seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return ConstructorError(None, None, problem, node.start_mark)


yaml.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping, Loader=_Loader)


def load_all(text: str, origin: str) -> list[object]:
    """Every document of a YAML (or JSON) text as plain data. ConfigError says file, line, column."""
    if len(text) > _MAX_CHARACTERS:
        raise ConfigError(origin, f"expected at most {_MAX_CHARACTERS} characters")
    if text.count("*") > _MAX_ALIASES and _aliases(text) > _MAX_ALIASES:
        raise ConfigError(origin, f"expected at most {_MAX_ALIASES} aliases")
    try:
        documents: list[object] = list(yaml.load_all(text, Loader=_Loader))
        return [d for d in documents if d is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = origin if mark is None else f"{origin}:{mark.line + 1}:{mark.column + 1}"
        raise ConfigError(where, error.problem or "expected YAML") from error
    except yaml.YAMLError as error:
        raise ConfigError(origin, str(error)) from error
    except RecursionError as error:
        raise ConfigError(origin, "nested too deeply") from error


def load(text: str, origin: str) -> dict[str, object]:
    """The one mapping that a text must hold."""
    documents = load_all(text, origin)
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ConfigError(origin, "expected one YAML document that is a mapping")
    document = cast("dict[object, object]", documents[0])
    for key in document:
        if not isinstance(key, str):
            raise ConfigError(origin, f"expected keys that are strings, found {key!r}")
    return cast("dict[str, object]", document)


def _aliases(text: str) -> int:
    return sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=_BASE))
