"""Values that are made for every call.

A frozen dataclass pays for each of its fields when it is made, about as much again as making it.
These are frozen for type checkers alone, which run before anything is released.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T], /) -> type[T]:
    """A dataclass with slots, equal by its fields, that nobody changes."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(field,))
def unique(cls: type[T], /) -> type[T]:
    """As `value`, but equal only to itself."""
    return dataclass(slots=True, eq=False)(cls)
