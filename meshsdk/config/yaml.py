"""YAML as configuration: duplicate keys refused, errors with line and column, no aliases to bomb."""

from typing import cast

import yaml

from meshsdk.errors import ConfigError

_MAX_ALIASES = 100
_MAX_CHARACTERS = 64 << 20


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """SafeLoader that refuses what YAML allows and configuration must not."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[object, object]:
    seen: dict[object, object] = {}
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            mark = key_node.start_mark
            raise ConfigError(f"{mark.name}:{mark.line + 1}:{mark.column + 1}", "a key must be a word")
        key: object = loader.construct_object(key_node, deep=True)
        if key in seen:
            mark = key_node.start_mark
            raise ConfigError(
                f"{mark.name}:{mark.line + 1}:{mark.column + 1}", f"the key {key!r} is there twice"
            )
        seen[key] = None
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_all(text: str, origin: str) -> list[object]:
    """Every document of a YAML (or JSON) text as plain data. ConfigError says file, line, column."""
    if len(text) > _MAX_CHARACTERS:
        raise ConfigError(origin, f"expected at most {_MAX_CHARACTERS} characters")
    if text.count("*") > _MAX_ALIASES and _aliases(text) > _MAX_ALIASES:
        raise ConfigError(origin, f"expected at most {_MAX_ALIASES} aliases")
    try:
        loader = _Loader(text)
        loader.name = origin
        documents: list[object] = []
        while loader.check_data():
            documents.append(loader.get_data())
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
    document = cast("dict[str, object]", documents[0])
    for key in document:
        if not isinstance(key, str):
            raise ConfigError(origin, f"expected keys that are strings, found {key!r}")
    return document


def _aliases(text: str) -> int:
    return sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.CSafeLoader))
