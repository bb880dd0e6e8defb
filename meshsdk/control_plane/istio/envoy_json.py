"""Scalars of proto-JSON."""


def seconds_text(seconds: float) -> str:
    """A google.protobuf.Duration with 0, 3, 6 or 9 digits, as protobuf prints it: `1.500s`."""
    nanoseconds = round(seconds * 1_000_000_000)
    whole, rest = divmod(abs(nanoseconds), 1_000_000_000)
    sign = "-" if nanoseconds < 0 else ""
    if not rest:
        return f"{sign}{whole}s"
    digits = f"{rest:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{sign}{whole}.{digits}s"
