"""Path normalisation against what Envoy forwarded."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import TypedDict, cast

import pytest

from meshsdk.call.message import LocalReply, Request
from meshsdk.config.reader import Reader
from meshsdk.resources.hcm_options import HcmOptions, parse_hcm_options
from meshsdk.routing.canonical import canonicalize
from meshsdk.routing.path import canonical_path, is_untouched, merge_slashes
from tests.routing.calls import EXTENSIONS, context


class Recorded(TypedDict):
    """tests/data/paths.json.gz."""

    modes: list[str]
    options: dict[str, dict[str, object]]
    rows: list[list[str]]
    not_fixed_points: dict[str, list[list[str]]]


_FILE = Path(__file__).parents[1] / "data" / "paths.json.gz"
RECORDED = cast("Recorded", json.loads(gzip.decompress(_FILE.read_bytes())))
CUT = {"envoy.reloadable_features.http_reject_path_with_fragment": False}


def _options(mode: str, compat: str) -> HcmOptions:
    extensions = replace(EXTENSIONS, runtime=CUT, compat="envoy" if compat == "envoy" else "strict")
    return parse_hcm_options(Reader(RECORDED["options"][mode]), extensions)


def _outcome(target: str, options: HcmOptions) -> str:
    found = canonicalize(Request("GET", "a.test", target), options, context())
    if isinstance(found, Request):
        return found.path
    kinds = {400: "!reject", 307: "!redirect"}
    return kinds.get(found.status, f"!status_{found.status}")


@pytest.mark.parametrize("mode", RECORDED["modes"])
def test_every_recorded_target_comes_out_as_in_envoy(mode: str) -> None:
    options = _options(mode, "envoy")
    column = RECORDED["modes"].index(mode) + 1

    wrong = [
        (row[0], row[column], found)
        for row in RECORDED["rows"]
        if (found := _outcome(row[0], options)) != row[column]
    ]

    assert wrong == []


@pytest.mark.parametrize("mode", RECORDED["modes"])
def test_strict_only_refuses_and_never_forwards_another_path(mode: str) -> None:
    options = _options(mode, "strict")
    column = RECORDED["modes"].index(mode) + 1

    changed = [
        (row[0], row[column], found)
        for row in RECORDED["rows"]
        if (found := _outcome(row[0], options)) != row[column] and found != "!reject"
    ]

    assert changed == []


@pytest.mark.parametrize("mode", RECORDED["not_fixed_points"])
def test_a_path_that_a_second_pass_would_change_is_refused(mode: str) -> None:
    options = _options(mode, "strict")

    for target, _, _ in RECORDED["not_fixed_points"][mode]:
        found = canonicalize(Request("GET", "a.test", target), options, context())

        assert isinstance(found, LocalReply)
        assert "path-not-fixed-point" in found.details


def test_an_untouched_path_is_one_that_nothing_changes() -> None:
    untouched = [row[0] for row in RECORDED["rows"] if is_untouched(row[0])]

    assert len(untouched) > 30
    assert all(canonical_path(path) == path == merge_slashes(path) for path in untouched)


def test_a_long_path_of_dot_segments_is_resolved_in_one_pass() -> None:
    assert canonical_path("/" + "a/../" * 12_000 + "x") == "/x"
