"""Broken YAML: never a crash, always a place."""

import random
import re
from collections.abc import Callable, Iterator

from meshsdk.control_plane.istio.loader import Loaded, load
from tests import recorded_inputs

_FOLDERS = ("01-seed-mesh", "02-peer-authentication/mesh-strict", "03-authorization", "04-jwt")
_WANTED = 200
_PLACE = re.compile(r"fuzzed\.yaml:[1-9][0-9]*:[1-9][0-9]*: .+", re.DOTALL)
_JUNK = (
    "\t", "{", "}", "[", "]", ": ", "- ", "*x", "&x ", "!!python/object:os.system ", "\x00", '"',
    "'", "|", ">", "#", "---\n", "...\n", "%YAML 9.9\n", "<<: ", "null", "~", "1e999", "-1",
    "0x", "yes", "\ud800", "\u2028", "\x85", "é", "{{}}", "? ", "0123456789" * 40,
)  # fmt: skip
_VALUES = (
    "[]", "{}", "null", "7", "true", "1.5", '""', "[null]", "[{}]", "[[]]", "{a: b}", "'*'",
    "[1, 2]", "*nowhere", "2026-01-01", "[" * 300, "{a: " * 120,
)  # fmt: skip


def test_200_broken_inputs_each_have_a_problem_with_file_and_line() -> None:
    broken: list[Loaded] = []

    for text in _mutants(random.Random(4)):
        loaded = load({"fuzzed.yaml": text})
        if loaded.errors:
            broken.append(loaded)
        if len(broken) == _WANTED:
            break

    assert len(broken) == _WANTED
    for loaded in broken:
        for problem in loaded.problems:
            assert _PLACE.fullmatch(str(problem)), str(problem)


def _mutants(chance: random.Random) -> Iterator[str]:
    every = [text for folder in _FOLDERS for text in recorded_inputs.inputs(folder).values()]
    texts = [text for text in every if not load({"whole.yaml": text}).errors]
    mutations: tuple[Callable[[str, random.Random], str], ...] = (
        _with_junk, _without_some, _with_other_value, _with_other_indent, _with_line_twice, _cut,
    )  # fmt: skip
    for _ in range(20 * _WANTED):
        text = chance.choice(texts)
        for _ in range(chance.randint(1, 3)):
            text = chance.choice(mutations)(text, chance)
        yield text


def _with_junk(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + chance.choice(_JUNK) + text[at:]


def _without_some(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + text[at + chance.randint(1, 12) :]


def _with_other_value(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    at = chance.randrange(len(lines))
    key, colon, _ = lines[at].partition(":")
    lines[at] = f"{key}{colon or ':'} {chance.choice(_VALUES)}"
    return "\n".join(lines)


def _with_other_indent(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    at = chance.randrange(len(lines))
    lines[at] = " " * chance.randint(0, 8) + lines[at].lstrip()
    return "\n".join(lines)


def _with_line_twice(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    at = chance.randrange(len(lines))
    return "\n".join([*lines[: at + 1], *lines[at:]])


def _cut(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text) + 1)]
