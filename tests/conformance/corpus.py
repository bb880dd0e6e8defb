"""The golden cases, and how an outcome of ours is held against Envoy's."""

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Case: TypeAlias = Mapping[str, Any]
Difference: TypeAlias = tuple[str, str, object, object]
"""Request id, field, Envoy's value, ours."""

_PACKED = Path(__file__).parent.parent / "data" / "conformance" / "corpus.tar.xz"
# Named in the README of the corpus: time, chance and framing differ between any two proxies.
_REQUEST_NOISE = frozenset(
    [
        "x-request-id",
        "x-forwarded-proto",
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-internal",
        "content-length",
        "transfer-encoding",
        "connection",
    ]
)
_RESPONSE_NOISE = frozenset(
    [
        "date",
        "server",
        "x-envoy-upstream-service-time",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
    ]
)
_DEFAULTS = {"flags": "-", "details": "via_upstream"}
_ALWAYS = ("status", "cluster", "grpc_status")
_LOGGED = ("flags", "details", "route_name", "virtual_cluster", "dynamic_metadata", "grpc_message")


def cases() -> dict[str, list[Case]]:
    """Every case by area."""
    areas: dict[str, list[Case]] = {}
    with tarfile.open(_PACKED) as packed:
        for member in sorted(packed.getmembers(), key=lambda m: m.name):
            file = packed.extractfile(member) if member.isfile() else None
            if file is not None:
                case = json.load(file)
                areas.setdefault(case["area"], []).append(case)
    return areas


def is_rejected(case: Case) -> bool:
    """Whether Envoy refused the configuration."""
    expected = case["expected"]
    return bool(expected) and bool(expected[0].get("config_rejected"))


def differences(case: Case, outcomes: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    """Where our outcomes are not Envoy's: everything that the recorder saw, at every level."""
    ours = {outcome["id"]: outcome for outcome in outcomes}
    for request, expected in zip(case["requests"], case["expected"], strict=True):
        name = request["id"]
        if expected.get("unstable") == ["*"]:
            continue
        if "observe" in expected:
            found = _repeated(expected, ours[name])
        else:
            found = _single(expected, ours[name])
        unstable = set(expected.get("unstable", ()))
        yield from ((name, *one) for one in found if one[0] not in unstable)


def _single(
    want: Mapping[str, Any], got: Mapping[str, Any]
) -> Iterator[tuple[str, object, object]]:
    pairs: list[tuple[str, object, object]] = [
        ("error", bool(want.get("error")), bool(got.get("error")))
    ]
    pairs += [(f, want.get(f), got.get(f)) for f in _ALWAYS]
    pairs += [(f, want.get(f, _DEFAULTS.get(f)), got.get(f, _DEFAULTS.get(f))) for f in _LOGGED]
    for optional in ("attempts", "body"):
        if optional in want:
            pairs.append((optional, want[optional], got.get(optional)))
    if want.get("endpoint_matters"):
        pairs.append(("endpoint", want["endpoint"], got.get("endpoint")))
    pairs.append(
        (
            "response_headers",
            _fields(want.get("response_headers"), _RESPONSE_NOISE),
            _fields(got.get("response_headers"), _RESPONSE_NOISE),
        )
    )
    pairs.append(("mirrored", _sorted(want.get("mirrored")), _sorted(got.get("mirrored"))))
    upstream: Mapping[str, Any] | None = want.get("upstream")
    ours: Mapping[str, Any] = got.get("upstream") or {}
    if upstream:
        pairs += [
            (f"upstream.{f}", upstream.get(f), ours.get(f)) for f in ("method", "path", "authority")
        ]
        pairs.append(
            (
                "upstream.headers",
                _fields(upstream["headers"], _REQUEST_NOISE),
                _fields(ours.get("headers"), _REQUEST_NOISE),
            )
        )
        if upstream.get("body"):
            pairs.append(("upstream.body", upstream["body"], ours.get("body")))
    return (pair for pair in pairs if pair[1] != pair[2])


def _sorted(mirrored: Sequence[object] | None) -> list[str]:
    return sorted(str(one) for one in mirrored or ())


def _fields(pairs: Sequence[Sequence[str]] | None, noise: frozenset[str]) -> list[tuple[str, str]]:
    kept = [(n.lower(), re.sub("Hash=[0-9a-f]*", "Hash=", v)) for n, v in pairs or ()]
    return sorted((p for p in kept if p[0] not in noise), key=lambda p: p[0])


def _repeated(
    want: Mapping[str, Any], got: Mapping[str, Any]
) -> Iterator[tuple[str, object, object]]:
    if want["observe"] == "concurrent":
        if want["counts"] != got.get("counts"):
            yield "counts", want["counts"], got.get("counts")
        return
    sequence = [str(x) for x in got.get("sequence", ())]
    if want["observe"] == "distribution":
        shares = {k: n / len(sequence) for k, n in Counter(sequence).items()}
        names = set(shares) | set(want["distribution"])
        off = max(abs(shares.get(n, 0) - want["distribution"].get(n, 0)) for n in names)
        if off > want["tolerance"]:
            yield "distribution", want["distribution"], shares
        return
    recorded = [str(x) for x in want["sequence"]]
    if not _SAME[want.get("compare", "exact")](recorded, sequence):
        yield "sequence", recorded, sequence


def _exact(want: list[str], got: list[str]) -> bool:
    return want == got


def _rotation(want: list[str], got: list[str]) -> bool:
    """Envoy starts a round robin anywhere: half a run must be found inside the other's."""
    half = len(want) // 2
    starts = range(len(want) - half + 1)
    return len(want) == len(got) and any(got[:half] == want[s : s + half] for s in starts)


def _tail(sequence: list[str]) -> set[str]:
    return {s.partition("|")[0] for s in sequence[-max(4, len(sequence) // 4) :]}


def _failures(sequence: list[str]) -> Counter[str]:
    return Counter(s for s in sequence if "|" in s and not s.endswith("|200"))


def _phase(want: list[str], got: list[str]) -> bool:
    """The same endpoints are left at the end, with the same number of failures each, within two."""
    w, g = _failures(want), _failures(got)
    return _tail(want) == _tail(got) and all(abs(w[k] - g[k]) <= 2 for k in w | g)


def _phase_size(want: list[str], got: list[str]) -> bool:
    few = abs(_failures(want).total() - _failures(got).total()) <= 3
    return len(_tail(want)) == len(_tail(got)) and few


_SAME = {"exact": _exact, "rotation": _rotation, "phase": _phase, "phase-size": _phase_size}
