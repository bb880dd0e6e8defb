"""The coverage report for people, and its stable JSON form."""

from collections.abc import Iterator
from typing import Final

from meshsdk.cli.coverage import UNLISTED, Finding, Place, Report
from meshsdk.cli.coverage_extensions import SKIPPED
from meshsdk.config.fields import Use

_USES: Final = (
    Use.HONOURED.value,
    Use.IGNORED.value,
    SKIPPED,
    Use.NOT_BUILT.value,
    Use.REFUSED.value,
    UNLISTED,
)
_HEADINGS: Final = {
    UNLISTED: "Unlisted: no table says what becomes of it",
    Use.REFUSED.value: "Refused: the resource is NACKed by this name",
    Use.NOT_BUILT.value: "Not built: accepted; a call that meets it fails by this name",
    SKIPPED: "Skipped by name: the filter changes no decision, or is optional",
    Use.IGNORED.value: "Ignored by name: no decision changes",
}


def as_json_data(report: Report) -> dict[str, object]:
    """The report as plain data. Names and order are stable."""
    return {
        "origin": report.origin,
        "exit_code": report.exit_code,
        "types": {
            name: {"resources": count.resources, **{use: count.uses[use] for use in _USES}}
            for name, count in report.types.items()
        },
        "fields": [
            {
                "message": finding.message,
                "field": finding.field,
                "use": finding.use,
                "why": finding.why,
                "security_gap": finding.is_gap,
                "count": place.count,
                "example": place.example,
            }
            for finding, place in report.findings.items()
        ],
        "refused_resources": [
            {"type": one.type, "name": one.name, "path": one.path, "problem": one.problem}
            for one in report.refusals
        ],
    }


def render(report: Report) -> str:
    """The report as text."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.origin}: fields by what becomes of them"
    yield ""
    width = max((len(name) for name in report.types), default=4)
    yield f"{'':{width}}  {'resources':>9}" + "".join(f"  {use:>9}" for use in _USES)
    for name, count in report.types.items():
        uses = "".join(f"  {count.uses[use]:>9}" for use in _USES)
        yield f"{name:{width}}  {count.resources:>9}{uses}"
    for use, heading in _HEADINGS.items():
        found = [(f, p) for f, p in report.findings.items() if f.use == use]
        if found:
            yield ""
            yield heading
        for finding, place in found:
            yield from _finding(finding, place)
    if report.refusals:
        yield ""
        yield "Refused resources"
        for one in report.refusals:
            yield f"  {one.type} {one.name}"
            yield f"      {one.path}: {one.problem}"
    yield ""
    yield _verdict(report)


def _finding(finding: Finding, place: Place) -> Iterator[str]:
    name = f"{finding.message}.{finding.field}" if finding.field else finding.message
    mark = "! " if finding.is_gap else "  "
    yield f"{mark}{name}  ({place.count})  {finding.why}"
    if finding.use != Use.IGNORED.value:
        yield f"      {place.example}"


def _verdict(report: Report) -> str:
    gaps = sum(finding.is_gap for finding in report.findings)
    if not gaps:
        return "Every security-relevant field is honoured or refused."
    return f"{gaps} security-relevant field(s), marked !, neither honoured nor refused."
