"""What the demo prints: lines while it works, then the verdict."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Final, TextIO

from meshsdk.cli.demo.claims import Claim

_GREEN: Final = "32"
_RED: Final = "31"
_BOLD: Final = "1"
_DIM: Final = "2"


class Text:
    """For people. Colours on a terminal only, and none where NO_COLOR is set (no-color.org)."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._has_colours = out.isatty() and not os.environ.get("NO_COLOR")

    def line(self, text: str = "") -> None:
        """One line, at once."""
        print(text, file=self._out, flush=True)

    def heading(self, text: str) -> None:
        """A line that stands out."""
        self.line(self._coloured(_BOLD, text))

    def progress(self, claim: Claim) -> None:
        """A claim has been tried."""
        self.line(f"  {self._mark(claim)}  {claim.title}")

    def verdict(self, claims: Sequence[Claim], seconds: float) -> None:
        """All claims, and what became of them."""
        self.line()
        for claim in claims:
            self.line(f"  {self._mark(claim)}  {claim.title}")
            self.line(f"        {self._coloured(_DIM, 'expected')}  {claim.expected}")
            self.line(f"        {self._coloured(_DIM, 'seen    ')}  {claim.seen}")
        held = sum(claim.holds for claim in claims)
        total = f"{held} of {len(claims)} as expected, in {seconds:.1f} s"
        colour = _GREEN if held == len(claims) else _RED
        self.line()
        self.line(self._coloured(colour, total))

    def _mark(self, claim: Claim) -> str:
        if claim.holds:
            return self._coloured(_GREEN, " ok ")
        return self._coloured(_RED, "FAIL")

    def _coloured(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._has_colours else text


class Json:
    """For programs: one object at the end, nothing before."""

    def line(self, text: str = "") -> None:
        """Nothing."""

    def heading(self, text: str) -> None:
        """Nothing."""

    def progress(self, claim: Claim) -> None:
        """Nothing."""

    def verdict(self, claims: Sequence[Claim], seconds: float) -> None:
        """The object."""
        found = [
            {
                "title": claim.title,
                "expected": claim.expected,
                "seen": claim.seen,
                "ok": claim.holds,
            }
            for claim in claims
        ]
        ok = all(claim.holds for claim in claims)
        print(json.dumps({"ok": ok, "seconds": round(seconds, 2), "claims": found}, indent=2))


Report = Text | Json
