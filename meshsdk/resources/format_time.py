"""Points in time as a substitution format writes them."""

import datetime
import math
import re
from functools import lru_cache
from typing import Final

_PART: Final = re.compile("\x01([1-9])")
"""Where digits of a second's parts go, and how many."""


def time_text(seconds: float, form: str) -> str:
    """A strftime with Envoy's additions: `%s` seconds, `%3f` to `%9f` parts of a second."""
    parts, whole = math.modf(seconds)
    more, microseconds = divmod(round(parts * 1e6), 1_000_000)
    text = _of_second(int(whole) + more, form)
    if "\x01" not in text:
        return text
    nanoseconds = f"{microseconds:06d}000"
    return _PART.sub(lambda found: nanoseconds[: int(found[1])], text)


@lru_cache(maxsize=64)
def _of_second(whole: int, form: str) -> str:
    """All but the parts of a second: the same for every call of that second."""
    form = form.replace("%s", str(whole)).replace("%E3S", "%S.\x013")
    for digits in range(1, 10):
        form = form.replace(f"%{digits}f", f"\x01{digits}")
    moment = datetime.datetime.fromtimestamp(whole, datetime.UTC)
    return moment.strftime(form.replace("%f", "\x019"))
