"""Points in time as a substitution format writes them."""

import datetime


def time_text(seconds: float, form: str) -> str:
    """A strftime with Envoy's additions: `%s` seconds, `%3f` to `%9f` parts of a second."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    nanoseconds = f"{moment.microsecond * 1000:09d}"
    form = form.replace("%s", str(int(seconds))).replace("%E3S", f"%S.{nanoseconds[:3]}")
    for digits in range(1, 10):
        form = form.replace(f"%{digits}f", nanoseconds[:digits])
    return moment.strftime(form.replace("%f", nanoseconds))
