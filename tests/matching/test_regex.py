"""RE2's language on octets, with google-re2 and without it."""

import random
from collections.abc import Sequence

import pytest

from meshsdk.errors import ConfigError
from meshsdk.matching.octets import octets
from meshsdk.matching.regex import (
    Regex,
    Substitution,
    compile_regex,
    compile_search_with,
    compile_substitution,
    compile_with,
)
from meshsdk.matching.regex_re2 import Re2, find_re2
from meshsdk.matching.regex_tree import RefusedError, UnprovedError

ENGINES = pytest.mark.parametrize("re2", [None, find_re2()], ids=["without re2", "with re2"])

# What istiod sends (AuthorizationPolicy, VirtualService) and what each must (not) match.
ISTIO: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
    (
        ".*/ns/shop/.*",
        ("spiffe://td/ns/shop/sa/a", "/ns/shop/"),
        ("spiffe://td/ns/shop", "/ns/shopx/"),
    ),
    ("spiffe://.*a", ("spiffe://a", "spiffe://b/a"), ("spiffe://ab", "xspiffe://a")),
    (".+", ("a", "\xff"), ("", "a\nb")),
    (".*", ("", "a"), ("\n",)),
    (
        "spiffe://.+/ns/NS/(.+/|)sa/SA(/.+)?",
        ("spiffe://td/ns/NS/sa/SA", "spiffe://td/ns/NS/x/y/sa/SA/z", "spiffe://a/b/ns/NS/sa/SA/z"),
        (
            "spiffe:///ns/NS/sa/SA",
            "spiffe://td/ns/NS/sa/SAx",
            "spiffe://td/ns/NS/sa/SA/",
            "spiffe://td/ns/NSsa/SA",
        ),
    ),
    (
        "spiffe://.+/ns/cert-manager\\.io/(.+/|)sa/a(/.+)?",
        ("spiffe://t/ns/cert-manager.io/sa/a",),
        ("spiffe://t/ns/cert-manager-io/sa/a",),
    ),
    (
        "spiffe://pre[^/]*post/.*",
        ("spiffe://prepost/", "spiffe://pre-x-post/a"),
        ("spiffe://pre/post/", "spiffe://prepost"),
    ),
    ("/api/v[0-9]+/users", ("/api/v1/users", "/api/v12/users"), ("/api/v/users", "/api/v1/users/")),
    ("(?i)bearer .*", ("Bearer x", "BEARER "), ("bearer",)),
    ("^/a$", ("/a",), ("/a\n", "x/a")),
    ("a|b|", ("a", "b", ""), ("ab",)),
    ("100|200", ("100", "200"), ("10000",)),
    (".*a.*b", ("ab", "xaxb", "aab"), ("ba", "a", "abc")),
    ("a.+a", ("aba", "aaa"), ("aa",)),
    ("\\Q.*\\E", (".*",), ("a",)),
]


@ENGINES
@pytest.mark.parametrize(("pattern", "matching", "others"), ISTIO, ids=[row[0] for row in ISTIO])
def test_a_regex_of_a_feed_matches_the_whole_value(
    re2: Re2 | None, pattern: str, matching: tuple[str, ...], others: tuple[str, ...]
) -> None:
    regex = compile_with(pattern, re2)

    assert [v for v in matching if not regex.fullmatch(v)] == []
    assert [v for v in others if regex.fullmatch(v)] == []


@pytest.mark.parametrize(
    "pattern", ["a", "a.*", ".*a", ".*a.*", "a.*b.+c", "(a|b)c", ".*/ns/x/.*", "x(/.+)?"]
)
def test_literals_and_gaps_need_no_engine(pattern: str) -> None:
    assert compile_with(pattern, None).globs is not None


AMBIGUOUS = [
    "(a+)+b",
    "(a|aa)+",
    "(a*)*",
    "[^/]*a.*b",
    ".*a.c.*b",
    "(.*a){20}",
    "a?" * 12 + "a" * 12,
    "(x+x+)+y",
]


@pytest.mark.parametrize("pattern", AMBIGUOUS)
def test_what_backtracking_could_blow_up_on_is_left_to_re2(pattern: str) -> None:
    with pytest.raises(UnprovedError):
        compile_with(pattern, None)

    if find_re2() is not None:
        assert isinstance(compile_regex(pattern, "x"), Regex)


REFUSED = [
    "(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", "(a)\\1", "\\Z", "a++", "a**", "a{2}{3}", "*a", "(", ")", "[", "[z-a]",
    "[[:foo:]]", "(?#c)", "(?P=n)", "(?P>n)", "(?>a)", "\\8", "\\", "a{1001}", "(a{0,100}){0,100}", "(?z)", "[a-\\d]", "\\X",
    "(?P<>a)", "(?P<n-m>a)", "\\xg0", "(?i-)a", "[]",
]  # fmt: skip


@ENGINES
@pytest.mark.parametrize("pattern", REFUSED)
def test_what_re2_refuses_is_refused(re2: Re2 | None, pattern: str) -> None:
    with pytest.raises(RefusedError):
        compile_with(pattern, re2)


def test_a_refusal_names_the_field_and_the_pattern() -> None:
    with pytest.raises(
        ConfigError, match=r"^route\.regex: RE2 refuses '\(\?=a\)': invalid perl operator"
    ):
        compile_regex("(?=a)", "route.regex")


PIECES: Sequence[str] = (  # noqa: SIM905 (a list of a hundred short strings reads worse)
    "a b c / . .* .+ [ab] [^a] [^/] \\d \\w \\s \\W \\D [[:alpha:]] [[:^alpha:]] a* b? c+ (a|b) (a|) (?:ab) ^ $ \\A \\z \\b \\B"
    " (?i) (?s) (?m) (?i:a) (?-i) {2} {1,3} {,2} {2,} * + ? | ( ) [ \\ \xe9 \xc9 \\x41 \\x{e9} \\101 \\0 \\8 \\Q.*\\E [a-c] [c-a]"
    " []a] [^]a] [a-] (?P<n>a) (?=a) \\Z a++ (/.+)? (.+/|) foo \\C \\. [\\d\\.] - _ \\_ {0} (?U)a* k (?i)k ] () [.] [^\\x00-\\xff]"
).split(" ")
SUBJECTS = (
    "", "a", "b", "ab", "abc", "/", "a/b", "foo", "foo/bar", "\n", "a\n", "\na", "a\nb", "A", "\xc9", "\xe9", "aaa", "aab", "0",
    "_", "-", " ", "K", "k", ".", ".*", "a{2}", "\\", "cab", "//", "foo\nbar", "a/b/c", "FOO", "\x00", "aXb", "\xff", "{2}",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(find_re2() is None, reason="needs google-re2 to compare with")
@pytest.mark.parametrize("seed", range(8))
def test_without_re2_the_answers_are_those_of_re2(seed: int) -> None:
    chance = random.Random(seed)
    engine = find_re2()
    assert engine is not None
    for _ in range(700):
        pattern = "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 6)))
        try:
            program = engine.compile(pattern, captures=True)
        except RefusedError:
            with pytest.raises((RefusedError, UnprovedError)):
                compile_with(pattern, None)
            continue
        try:
            regex = compile_with(pattern, None)
            search, groups = compile_search_with(pattern, None)
        except UnprovedError:
            continue
        ours, theirs = (Substitution(s, ("<", 0, ">")) for s in (search, program.search))
        assert groups == program.groups, pattern
        for value in SUBJECTS:
            assert regex.fullmatch(value) == program.fullmatch(value), (pattern, value)
            assert ours.apply(value) == theirs.apply(value), (pattern, value)


def test_octets_beyond_ascii_are_matched_as_octets() -> None:
    regex = compile_regex(".*admin.*", "x")

    assert regex.fullmatch("admin\xff")
    assert compile_regex(octets("caf\u00e9"), "x").fullmatch("caf\xc3\xa9")


# Observed on Envoy 1.40: pattern, substitution, path, new path.
REWRITES = [
    ("a", "\\9", "/aab", "/aab"),
    ("a", "\\", "/aab", "/b"),
    ("a", "x\\zy", "/a", "/x"),
    ("a*", "-", "/aab/aa", "-/-b-/-"),
    ("(a)(b)?", "[\\2\\1]", "/aab/aa", "/[a][ba]/[a][a]"),
    ("^", "X", "/a", "X/a"),
    ("a", "$1", "/a", "/$1"),
    ("a", "\\\\\\0", "/a", "/\\a"),
    ("^/service/([^/]+)(/.*)$", "\\2/instance/\\1", "/service/foo/v1/api", "/v1/api/instance/foo"),
]


@ENGINES
@pytest.mark.parametrize(("pattern", "rewrite", "path", "expected"), REWRITES)
def test_a_substitution_replaces_as_envoy_does(
    re2: Re2 | None, pattern: str, rewrite: str, path: str, expected: str
) -> None:
    try:
        search, _ = compile_search_with(pattern, re2)
    except UnprovedError:
        assert re2 is None
        return
    parts = compile_substitution(pattern, rewrite, "x").rewrite

    assert Substitution(search, parts).apply(path) == expected
