"""Reading messages: what a reader adds to the plain data of a config."""

import pytest

from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError


def test_entries_of_a_map_come_in_the_order_of_their_keys() -> None:
    reader = Reader({"providers": {"b": {}, "a": {}, "é": {}, "B": {}}}, "filter")

    assert [key for key, _ in reader.entries("providers")] == ["B", "a", "b", "é"]


def test_an_entry_knows_its_place() -> None:
    reader = Reader({"providers": {"a": {"name": 1}}}, "filter")

    [(_, entry)] = reader.entries("providers")

    with pytest.raises(ConfigError, match=r"filter\.providers\[a\]\.name"):
        entry.string("name")


def test_an_entry_that_is_no_message_is_refused() -> None:
    reader = Reader({"providers": {"a": 1}}, "filter")

    with pytest.raises(ConfigError, match=r"providers\[a\]: expected a message"):
        list(reader.entries("providers"))
