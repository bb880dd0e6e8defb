"""`meshsdk authz`: unit tests of policies, and what is suspicious about them; no cluster is needed."""

import argparse
from pathlib import Path
from typing import Literal

from meshsdk.errors import UsageError

_TEST = "requests with the decision that each should get"
_LINT = "findings about policies: what is legal and probably not meant"


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    commands = parser.add_subparsers(dest="what", metavar="test|lint")
    test = commands.add_parser("test", help=_TEST, description=_TEST)
    test.add_argument("file", nargs="+", metavar="FILE", help="YAML with config and cases")
    test.add_argument("--junit", metavar="XML", help="write the results as JUnit does")
    test.add_argument(
        "--envoy", action="store_true", help="decide as Envoy where meshsdk is stricter by default"
    )
    lint = commands.add_parser("lint", help=_LINT, description=_LINT)
    lint.add_argument("path", metavar="PATH", help="Istio YAML or a folder of it, or Envoy config")


def run(options: argparse.Namespace) -> int:
    """0; 1 when a case failed or something was found."""
    match options.what:
        case "test":
            return _test(options)
        case "lint":
            from meshsdk.cli.authz.lint import lint

            findings = lint(Path(options.path))
            for finding in findings:
                print(finding)
            count = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
            print(count if findings else "nothing found")
            return 1 if findings else 0
        case _:
            raise UsageError("expected test or lint")


def _test(options: argparse.Namespace) -> int:
    from meshsdk.cli.authz.cases import read_suite
    from meshsdk.cli.authz.report import junit, text
    from meshsdk.cli.authz.verdicts import run_suite

    compat: Literal["strict", "envoy"] = "envoy" if options.envoy else "strict"
    suites = [(name, run_suite(read_suite(Path(name)), compat)) for name in options.file]
    for name, results in suites:
        print(text(name, results))
    if options.junit:
        try:
            Path(options.junit).write_text(junit(suites), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--junit {options.junit}: {error.strerror}") from error
    return 0 if all(result.passed for _, results in suites for result in results) else 1
