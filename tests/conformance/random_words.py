"""The words of random cases, and how one case draws them.

Few names and many overlaps: what is rare in the field, two rules for one request, is common here.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

Json = dict[str, Any]
T = TypeVar("T")

DOMAINS = (
    "*", "a.test", "A.Test", "b.test", "a.test:8080", "*.test", "*.a.test", "a.*", "b.*", "*-x.test",
    "a.test:*", "c.test.", "[::1]", "*.b.test:8080",
)  # fmt: skip
AUTHORITIES = (
    "a.test", "A.TEST", "b.test", "a.test:8080", "a.test:80", "x.a.test", "b.a.test:8080", "q-x.test",
    "a.org", "b.", "c.test.", "c.test", "[::1]", "[::1]:8080", "a.test.", "x.b.test:8080", "test",
)  # fmt: skip
SEGMENTS = ("a", "b", "api", "v1", "A", "", ".", "..", "x%2Fy", "a%20b", "b;p=1")
PREFIXES = ("/", "/a", "/a/", "/api", "/api/v1", "/A", "/b/", "/a/b", "/x%2Fy")
REGEXES = ("/a.*", "/(a|b)/.*", "/api/v[0-9]+", ".*", "/a/b", "/[a-c]*", "/a(/.*)?", "(?i)/API/.*")
TEMPLATES = ("/a/{x}", "/api/{v}/b", "/{x=*}/{y=**}", "/a/*", "/{n}/b", "/a/**")
HEADERS = ("x-a", "x-b", "x-user", "user-agent", "accept", ":method", ":path", ":authority")
VALUES = ("1", "2", "abc", "ABC", "a,b", "", " x", "12", "-3", "100", "curl/8", "application/json")
CLUSTERS = ("one", "two", "three")
ACTIONS = (
    "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS",
)  # fmt: skip
FORMATS = (
    "v", "", "%REQ(x-a)%", "%REQ(X-NONE?x-b):2%", "%PROTOCOL%", "%REQ(:PATH)%-%REQ(:METHOD)%", "%%",
    "%ROUTE_NAME%", "%UPSTREAM_CLUSTER%", "%RESPONSE_CODE%", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "%DOWNSTREAM_LOCAL_PORT%", "%RESP(x-r)%", "%REQ(:AUTHORITY)%",
    "%VIRTUAL_CLUSTER_NAME%", "%PER_REQUEST_STATE(x)%", "%REQUESTED_SERVER_NAME%",
    "%RESPONSE_FLAGS%", "%RESPONSE_CODE_DETAILS%", "%DYNAMIC_METADATA(a:b)%",
)  # fmt: skip
FIELDS = ("x-a", "x-b", "x-new", "x-multi", "user-agent", "x-r", "content-type")


class Dice:
    """Draws for one case."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)

    def one(self, of: Sequence[T]) -> T:
        """One of them."""
        return self._random.choice(of)

    def some(self, of: Sequence[T], most: int) -> list[T]:
        """Up to `most` different ones."""
        return self._random.sample(of, self.upto(min(most, len(of))))

    def upto(self, most: int) -> int:
        """0 to `most`."""
        return self._random.randint(0, most)

    def chance(self, share: float) -> bool:
        """True for that share of the draws."""
        return self._random.random() < share

    def times(self, most: int, make: Callable[[], T]) -> list[T]:
        """Up to `most` new ones."""
        return [make() for _ in range(self.upto(most))]


def string_match(dice: Dice) -> Json:
    kind = dice.one(("exact", "prefix", "suffix", "contains", "safe_regex"))
    value = dice.one(VALUES)
    if kind == "safe_regex":
        return {"safe_regex": {"regex": dice.one(("[0-9]+", ".*", "a.*", "(1|abc)", "(?i)ABC"))}}
    if kind != "exact" and not value:
        value = "a"
    found: Json = {kind: value}
    if dice.chance(0.3):
        found["ignore_case"] = True
    return found


def header_match(dice: Dice) -> Json:
    found: Json = {"name": dice.one(HEADERS)}
    kind = dice.one(("string", "string", "present", "absent", "range", "old"))
    if kind == "string":
        found["string_match"] = string_match(dice)
    elif kind == "present":
        found["present_match"] = True
    elif kind == "absent":
        found["present_match"] = False
    elif kind == "range":
        found["range_match"] = {"start": dice.one((-5, 0, 1)), "end": dice.one((2, 13, 1000))}
    else:
        found[dice.one(("exact_match", "prefix_match", "suffix_match", "contains_match"))] = (
            dice.one([v for v in VALUES if v])
        )
    if dice.chance(0.25):
        found["invert_match"] = True
    if dice.chance(0.25):
        found["treat_missing_header_as_empty"] = True
    return found


def added(dice: Dice) -> Json:
    found: Json = {"header": {"key": dice.one(FIELDS), "value": dice.one(FORMATS)}}
    if dice.chance(0.7):
        found["append_action"] = dice.one(ACTIONS)
    if dice.chance(0.3):
        found["keep_empty_value"] = True
    return found


def some_path(dice: Dice) -> str:
    if dice.chance(0.4):
        path = dice.one(
            ("/", "/a", "/a/b", "/api/v1", "/api/v1/b", "/A/b", "/a/", "//a//b", "/a/b/c")
        )
    else:
        path = "/" + "/".join(dice.one(SEGMENTS) for _ in range(dice.upto(3)))
    if dice.chance(0.3):
        path += dice.one(("?", "?q=1", "?a=abc&q=2", "?empty", "?q=%31&q=1", "?a=b?c", "?q=;a=1"))
    if dice.chance(0.03):
        path += "#f"
    return path
