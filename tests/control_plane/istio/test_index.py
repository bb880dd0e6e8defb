"""Every kind has its line in the index and its test."""

from pathlib import Path

from meshsdk.control_plane import istio

_FILES = Path(istio.__file__).parent


def test_every_kind_has_its_line_and_its_test() -> None:
    with_kind = {
        path.stem for path in _FILES.glob("*.py") if "\nKIND: Final = Kind(" in path.read_text()
    }

    indexed = {kind.parse.__module__.rpartition(".")[2] for kind in istio.KINDS}

    assert indexed == with_kind
    tests = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert with_kind <= tests
