"""Field paths, built on the way out of a nested error."""

from meshsdk.errors import ConfigError


def join(path: str, name: str) -> str:
    """`path.name`; either may be empty, and an index needs no dot."""
    return f"{path}{name}" if not path or not name or name.startswith("[") else f"{path}.{name}"


def at_field(name: str, error: ConfigError) -> ConfigError:
    """The error as seen from the message that has the field."""
    return ConfigError(join(name, error.path), error.problem)


def at_index(index: int, error: ConfigError) -> ConfigError:
    """The error as seen from the list."""
    return ConfigError(join(f"[{index}]", error.path), error.problem)


def at_key(key: str, error: ConfigError) -> ConfigError:
    """The error as seen from the map."""
    return ConfigError(join(f"[{key}]", error.path), error.problem)
