"""Results for people, and for CI as JUnit writes them."""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from meshsdk.cli.authz.verdicts import Result


def text(name: str, results: Sequence[Result]) -> str:
    """A line for each case, more where it failed."""
    failed = sum(not result.passed for result in results)
    lines = [f"{name}: {len(results) - failed} of {len(results)} as expected"]
    for result in results:
        lines.append(f"  {'ok  ' if result.passed else 'FAIL'} {result.case.name}")
        if not result.passed:
            lines += [f"       {line}" for line in problem(result).splitlines()]
    return "\n".join(lines)


def problem(result: Result) -> str:
    """What was expected, what was found, and why."""
    case = result.case
    by = f" by {case.policy}" if case.policy else ""
    found = f"{result.found} by {result.policy or 'no policy'} ({result.details or 'passed'})"
    return "\n".join((f"expected {case.expect}{by}, found {found}", *result.why))


def junit(suites: Sequence[tuple[str, Sequence[Result]]]) -> str:
    """One testsuite for each file."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<testsuites>"]
    for name, results in suites:
        failed = sum(not result.passed for result in results)
        counts = f'tests="{len(results)}" failures="{failed}" errors="0"'
        lines.append(f"  <testsuite name={_attribute(name)} {counts}>")
        lines += [_testcase(name, result) for result in results]
        lines.append("  </testsuite>")
    return "\n".join((*lines, "</testsuites>", ""))


def _testcase(suite: str, result: Result) -> str:
    opening = f"    <testcase classname={_attribute(suite)} name={_attribute(result.case.name)}"
    if result.passed:
        return f"{opening}/>"
    found = problem(result)
    message = _attribute(found.splitlines()[0])
    body = f"<failure message={message}>{escape(_printable(found))}</failure>"
    return f"{opening}>{body}</testcase>"


def _attribute(value: str) -> str:
    return quoteattr(_printable(value))


def _printable(value: str) -> str:
    """XML has no word for control characters."""
    return "".join(c if c >= " " or c in "\t\n" else "\N{REPLACEMENT CHARACTER}" for c in value)
