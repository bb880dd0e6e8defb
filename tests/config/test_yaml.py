import pytest

from meshsdk.config.yaml import load, load_all
from meshsdk.errors import ConfigError


def test_documents_are_plain_data_and_empty_ones_are_left_out() -> None:
    assert load_all("a: 1\n---\n---\n[x, 2.5, on]\n", "f.yaml") == [{"a": 1}, ["x", 2.5, True]]


def test_json_is_yaml() -> None:
    assert load('{"a": {"b": [1, null]}}', "f.json") == {"a": {"b": [1, None]}}


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("a: 1\nb: {c: 1, c: 2}\n", "f.yaml:2:11", "the key 'c' is there twice"),
        ("on: 1\nyes: 2\n", "f.yaml:2:1", "the key True is there twice"),
        ("? [a]\n: 1\n", "f.yaml:1:3", "a key must be a word"),
        ("a: [1\n", "f.yaml:2:1", ""),
        ("a: !!python/object:os.system 1\n", "f.yaml:1:4", "could not determine a constructor"),
        ("[1]\n", "f.yaml", "a mapping"),
        ("a: 1\n---\nb: 1\n", "f.yaml", "one YAML document"),
        ("1: a\n", "f.yaml", "keys that are strings"),
        ("a: &a [1]\nb: [" + "*a, " * 101 + "1]\n", "f.yaml", "at most 100 aliases"),
        ("[" * 5000, "f.yaml", ""),
    ],
)
def test_an_error_says_where(text: str, where: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, "f.yaml")

    assert caught.value.path.startswith(where)
    assert problem in caught.value.problem


def test_a_star_in_a_text_is_no_alias() -> None:
    assert load("a: '" + "*" * 200 + "'\n", "f.yaml")["a"] == "*" * 200
