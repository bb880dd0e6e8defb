"""Options of the test command."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """What a developer may ask for beside pytest's own options."""
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the expected coverage reports anew from what the recordings give now",
    )
    parser.addoption(
        "--envoy-cases",
        default=60,
        type=int,
        metavar="N",
        help="how many random cases the differential tests hold against a real Envoy",
    )
    parser.addoption(
        "--path-fuzz",
        default=20_000,
        type=int,
        metavar="N",
        help="how many random request targets go through the path pipeline",
    )
    parser.addoption(
        "--envoy-seed", default="meshsdk", help="what those cases are drawn from: any text"
    )
