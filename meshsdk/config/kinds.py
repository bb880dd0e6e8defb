"""What was found in the place of what was expected."""

from collections.abc import Mapping


def kind_of(found: object) -> str:
    """What was found, in a few words for an error."""
    match found:
        case None:
            return "nothing"
        case bool():
            return "true" if found else "false"
        case str():
            return repr(found if len(found) <= 40 else found[:37] + "...")
        case int() | float():
            return f"the number {found}"
        case Mapping():
            return "a message"
        case list() | tuple():
            return "a list"
        case _:
            return type(found).__name__
