"""envoy.extensions.path.match.uri_template, as a running Envoy 1.40 answered."""

import pytest

from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.matching.uri_template import UriTemplate, parse_uri_rewrite, parse_uri_template


def _template(text: str) -> UriTemplate:
    return parse_uri_template(Reader({"path_template": text}))


@pytest.mark.parametrize(
    ("template", "matching", "others"),
    [
        ("/a", ("/a", "/a?x=1"), ("/", "/a/", "/a/b", "/A", "/a;p=1")),
        ("/*/b", ("/a/b", "/A/b"), ("/a", "//b", "/a/b/c")),
        ("/api/*", ("/api/x", "/api/x;y"), ("/api", "/api/", "/api/x/y")),
        ("/api/**", ("/api/", "/api/x/y"), ("/api",)),
        ("/**/x", ("/a/x", "/a/b/x", "//x"), ("/x",)),
        ("/{x}/{y}", ("/a/b",), ("/a", "/a/")),
        ("/a/{x=**}", ("/a/", "/a/b/c"), ("/a",)),
        ("/{x=a/*}", ("/a/b",), ("/b/a",)),
        ("/a/*.js", ("/a/b.js",), ("/a/.css", "/a/b/c.js")),
        ("/a/*.*", ("/a/b", "/a/b.."), ("/a/", "/a/b/c")),
    ],
)
def test_a_template_matches_whole_paths(
    template: str, matching: tuple[str, ...], others: tuple[str, ...]
) -> None:
    compiled = _template(template)

    assert [p for p in matching if not compiled.matches(p)] == []
    assert [p for p in others if compiled.matches(p)] == []


def test_a_segment_holds_what_rfc_3986_calls_pchar() -> None:
    compiled = _template("/a/*")

    assert [c for c in "!\"$&'()*+,-.:;<=>@[]^_`{|}~%" if not compiled.matches(f"/a/{c}")] == list(
        '"<>[]^`{|}'
    )
    assert compiled.matches_any_octet("/a/1[2]")
    assert not compiled.matches_any_octet("/a/1/2")


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("a", "Invalid pattern"),
        ("/a b", "Invalid pattern"),
        ("/a/**/b/**", "Glob after text glob."),
        ("/a/**/*", "Glob after text glob."),
        ("/{a}/{a}", "Repeated variable name"),
        ("/{1a}", "Invalid variable name"),
        ("/{a", "Unmatched variable bracket"),
        ("/{a=}", "Empty variable match"),
        ("/{a}/{b}/{c}/{d}/{e}/{f}", "Exceeded variable count limit"),
        ("/a//b", "Invalid literal"),
        ("/*.js/b", "Prefix match not supported."),
    ],
)
def test_a_bad_template_is_refused_in_envoys_words(template: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"path_template: path template .* is invalid: {problem}"):
        _template(template)


@pytest.mark.parametrize(
    ("template", "rewrite", "path", "expected"),
    [
        ("/a/{x=**}", "/new/{x}", "/a/b/c", "/new/b/c"),
        ("/{a}/{b=**}", "/{b}/{a}/z", "/a/b/c?q=1", "/b/c/a/z"),
        ("/a/*", "/static", "/a/b", "/static"),
    ],
)
def test_a_rewrite_puts_variables_in_place(
    template: str, rewrite: str, path: str, expected: str
) -> None:
    compiled = _template(template)
    variables = compiled.variables(path)
    assert variables is not None

    parsed = parse_uri_rewrite(Reader({"path_template_rewrite": rewrite}), compiled)
    assert parsed.apply(variables) == expected


@pytest.mark.parametrize("rewrite", ["/{y}", "/{x", "/ x", ""])
def test_a_rewrite_names_only_captured_variables(rewrite: str) -> None:
    with pytest.raises(ConfigError, match="path_template_rewrite"):
        parse_uri_rewrite(Reader({"path_template_rewrite": rewrite}), _template("/{x}"))
