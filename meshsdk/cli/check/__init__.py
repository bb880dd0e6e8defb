"""`meshsdk check`: what a configuration does with requests; no socket is opened."""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from meshsdk.cli.check.case import Json
from meshsdk.cli.check.request_fields import check_request
from meshsdk.config.yaml import load
from meshsdk.errors import ConfigError, UsageError

Compat = Literal["strict", "envoy"]


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    parser.add_argument(
        "config",
        nargs="?",
        metavar="CONFIG",
        help="Envoy bootstrap, or route_config and http_filters",
    )
    parser.add_argument("--requests", metavar="FILE", help="requests, one JSON object a line")
    parser.add_argument("--stdio", action="store_true", help="answer cases line by line on stdin")
    parser.add_argument(
        "--strict", action="store_true", help="with meshsdk's own stricter defaults"
    )
    parser.add_argument("--coverage", metavar="FILE", help="report what becomes of each field")
    parser.add_argument("--json", action="store_true", help="the coverage report as JSON")


def run(options: argparse.Namespace) -> int:
    """0, or 1 when the configuration is refused or not covered."""
    if options.coverage:
        from meshsdk.cli.coverage import run_coverage

        return run_coverage(options.coverage, options.json)
    compat: Compat = "strict" if options.strict else "envoy"
    if options.stdio:
        return _stdio(compat)
    if not options.config or not options.requests:
        raise UsageError("expected CONFIG with --requests FILE, --stdio, or --coverage FILE")
    config = load(read_text(options.config), options.config)
    requests = list(_requests(options.requests))
    return _check(config, requests, compat)


def _check(config: Json, requests: list[Json], compat: Compat) -> int:
    from meshsdk.cli.check.checker import Checker

    try:
        outcomes = Checker(config, compat).run(requests)
    except ConfigError as error:
        print(json.dumps({"config_rejected": True, "reason": str(error)}))
        return 1
    for outcome in outcomes:
        print(json.dumps(outcome))
    return 0


def _stdio(compat: Compat) -> int:
    from meshsdk.cli.check.checker import Checker

    for number, line in enumerate(sys.stdin, 1):
        if not line.strip():
            continue
        case = _object(line, f"line {number}")
        missing = [name for name in ("config", "requests") if name not in case]
        if missing:
            raise ConfigError(f"line {number}", f"expected {' and '.join(missing)}, found none")
        try:
            config = cast("Json", case["config"])
            requests = cast("Sequence[Json]", case["requests"])
            answer: Json = {"outcomes": Checker(config, compat).run(requests)}
        except ConfigError as error:
            answer = {"config_rejected": True, "reason": str(error)}
        print(json.dumps(answer), flush=True)
    return 0


def _requests(path: str) -> Iterator[Json]:
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        yield check_request(_object(line, where), where)


def _object(line: str, where: str) -> Json:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ConfigError(where, f"expected a JSON object: {error}") from error
    if not isinstance(found, Mapping):
        raise ConfigError(where, "expected a JSON object")
    return cast("Json", found)


def read_text(path: str) -> str:
    """A text file, unpacked where its name ends in .gz; ConfigError when it cannot be read."""
    try:
        if path.endswith(".gz"):
            return gzip.decompress(Path(path).read_bytes()).decode()
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, str(error)) from error
