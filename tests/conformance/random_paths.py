"""Random request targets: pieces that normalisers trip over, put together in any order."""

from tests.conformance.random_routes import Dice, Json

_PIECES = (
    "/", "/", "/", "//", "///", ".", "..", "...", "./", "../", "a", "admin", "public", "A", ";", ";a=b", "..;",
    ".;", "%2e", "%2E", "%2e%2e", ".%2e", "%2f", "%2F", "%5c", "%5C", "\\", "%252e", "%252f", "%25", "%", "%2",
    "%zz", "%00", "%0a", "%7f", "%ff", "%c0%af", "%41", "%61dmin", "~", "!", "$", "'", "(", "*", "+", ",", ":",
    "@", "=", "&", "[", "]", "{", "}", "|", "^", "`", '"', "<", ">", "?", "?x=1", "?/../", "#", "#x",
)  # fmt: skip
_ODD = ("\x80", "\xff", "\xed")
"""Octets that HTTP/1.1 refuses."""
MODES: tuple[Json, ...] = (
    {},
    {"normalize_path": True},
    {"normalize_path": True, "merge_slashes": True},
    {"merge_slashes": True},
    *(
        {"normalize_path": True, "merge_slashes": True, "path_with_escaped_slashes_action": action}
        for action in ("UNESCAPE_AND_FORWARD", "UNESCAPE_AND_REDIRECT", "REJECT_REQUEST")
    ),
    {"normalize_path": True, "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"},
)


def target(dice: Dice) -> str:
    """One of them; most begin with a slash."""
    pieces = [dice.one(_PIECES) for _ in range(1 + dice.upto(9))]
    if dice.chance(0.02):
        pieces.append(dice.one(_ODD))
    return ("" if dice.chance(0.03) else "/") + "".join(pieces)


def case(seed: str, number: int, requests: int = 100) -> Json:
    """Requests under one way of normalising."""
    dice = Dice(f"{seed}-paths-{number}")
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "one"}}]
    return {
        "name": f"paths-{seed}-{number}",
        "area": "random",
        "config": {
            "route_config": {
                "name": "rc",
                "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}],
            },
            "hcm": MODES[number % len(MODES)],
        },
        "requests": [
            {"id": f"r{i}", "method": "GET", "authority": "a.test", "path": target(dice)}
            for i in range(requests)
        ],
    }
