"""Options of the test command."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """What a developer may ask for beside pytest's own options."""
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the expected coverage reports anew from what the recordings give now",
    )
