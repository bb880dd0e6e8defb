"""Scalars of proto-JSON."""


def seconds_text(seconds: float) -> str:
    """A google.protobuf.Duration: `1.5s`, at most nanoseconds."""
    text = f"{seconds:.9f}".rstrip("0").rstrip(".")
    return f"{text}s"
