"""The compiled form of permissions and principals: a tree that can be walked and run.

Running goes through closures that `compile_node` makes once; the tree stays for `explain` and for
the index of policies.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection
from meshsdk.call.message import UNKNOWN_AUTHORITY, Request


class Facts(Protocol):
    """What policies see beside the request; `CallContext` is one."""

    @property
    def connection(self) -> Connection: ...
    @property
    def remote(self) -> Address: ...
    @property
    def dynamic_metadata(self) -> Mapping[str, Mapping[str, object]]: ...
    @property
    def filter_state(self) -> Mapping[str, str]: ...
    @property
    def route_metadata(self) -> Mapping[str, Mapping[str, object]] | None: ...
    @property
    def ignore_path_parameters(self) -> bool: ...


Test: TypeAlias = Callable[[Request, Facts], bool]
Dimension: TypeAlias = Literal["peer", "path", "method"]
"""A peer's key is one of its SANs whole, or a `/ns/<namespace>/` inside of one."""
Keys: TypeAlias = Mapping[Dimension, frozenset[str]]
"""For a leaf: it can only hold if the request has one of these values in that dimension."""
NO_KEYS: Final[Keys] = {}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a leaf looks at: for records of decisions."""

    kind: str
    """`method`, `path`, `principal`, `header`, `claim`, `source ip` ..."""
    expected: str
    read: Callable[[Request, Facts], Sequence[object]]
    """Every value that it looked at."""
    name: str = ""
    """Of the header or claim."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One question about the request or its connection."""

    describe: str
    test: Test
    keys: Keys = field(default_factory=lambda: NO_KEYS)
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Always:
    """`any: true`."""


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Or:
    """One of them."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """Not that."""

    item: "Node"


Node: TypeAlias = Leaf | Always | And | Or | Not


def describe(node: Node) -> str:
    """For people."""
    match node:
        case Leaf():
            return node.describe
        case Always():
            return "any"
        case And(items):
            return " and ".join(_operand(item) for item in items)
        case Or(items):
            return " or ".join(_operand(item) for item in items)
        case Not(item):
            return f"not {_operand(item)}"


def _operand(node: Node) -> str:
    text = describe(node)
    return f"({text})" if isinstance(node, And | Or) and len(node.items) > 1 else text


def simplify(node: Node) -> Node:
    """The same without what decides nothing: `any` inside of and, groups of one, nested groups."""
    match node:
        case And(items):
            parts = _flat(items, And)
            parts = tuple(part for part in parts if not isinstance(part, Always))
            if not parts:
                return Always()
            return parts[0] if len(parts) == 1 else And(parts)
        case Or(items):
            parts = _flat(items, Or)
            if any(isinstance(part, Always) for part in parts):
                return Always()
            return parts[0] if len(parts) == 1 else Or(parts)
        case Not(item):
            inner = simplify(item)
            return inner.item if isinstance(inner, Not) else Not(inner)
        case _:
            return node


def _flat(items: "tuple[Node, ...]", kind: type[And] | type[Or]) -> "tuple[Node, ...]":
    flat: list[Node] = []
    for item in items:
        simple = simplify(item)
        if isinstance(simple, And | Or) and isinstance(simple, kind):
            flat.extend(simple.items)
        else:
            flat.append(simple)
    return tuple(flat)


def compile_node(node: Node, *, unknown: bool = False) -> Test:
    """One function for a simplified tree. `unknown`: what a condition on an authority that nobody
    knows comes out as; for a policy that denies, True."""
    match node:
        case Leaf(seen=Seen(kind="host")):
            return _known_host(node.test, unknown)
        case Leaf():
            return node.test
        case Always():
            return _always
        case Not(item):
            return _not(compile_node(item, unknown=not unknown))
        case And(items):
            return _all(tuple(compile_node(item, unknown=unknown) for item in items))
        case Or(items):
            return _any(tuple(compile_node(item, unknown=unknown) for item in items))


def _known_host(test: Test, unknown: bool) -> Test:
    return lambda request, facts: (
        unknown if request.authority == UNKNOWN_AUTHORITY else test(request, facts)
    )


def _always(_request: Request, _facts: Facts) -> bool:
    return True


def _not(test: Test) -> Test:
    return lambda request, facts: not test(request, facts)


def _all(tests: tuple[Test, ...]) -> Test:
    if len(tests) == 2:
        first, second = tests
        return lambda request, facts: first(request, facts) and second(request, facts)

    def every(request: Request, facts: Facts) -> bool:
        for test in tests:  # noqa: SIM110 (a generator costs more than the tests)
            if not test(request, facts):
                return False
        return True

    return every


def _any(tests: tuple[Test, ...]) -> Test:
    if len(tests) == 2:
        first, second = tests
        return lambda request, facts: first(request, facts) or second(request, facts)

    def some(request: Request, facts: Facts) -> bool:
        for test in tests:  # noqa: SIM110 (a generator costs more than the tests)
            if test(request, facts):
                return True
        return False

    return some


def keys_of(node: Node, dimension: Dimension) -> frozenset[str] | None:
    """Values of which a request must have one for the tree to hold; None: nothing is known."""
    match node:
        case Leaf():
            return node.keys.get(dimension)
        case And(items):
            known = [keys for item in items if (keys := keys_of(item, dimension)) is not None]
            return min(known, key=len, default=None)
        case Or(items):
            every = [keys_of(item, dimension) for item in items]
            found = [keys for keys in every if keys is not None]
            return frozenset[str]().union(*found) if len(found) == len(every) else None
        case _:
            return None
