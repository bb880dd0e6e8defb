"""Scalars of proto-JSON, and parts of resources that we made."""

from typing import cast

from meshsdk.control_plane.shapes.tls import Json


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


def message(value: object) -> Json:
    """A value that is a message, as we made it."""
    assert isinstance(value, dict)
    return cast("Json", value)


def messages(value: object) -> list[Json]:
    """A value that is a list of messages, as we made it."""
    assert isinstance(value, list)
    return cast("list[Json]", value)
