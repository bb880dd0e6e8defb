"""Random cases as a real Envoy 1.40 decided them, for where there is none to ask."""

import json
import lzma
from pathlib import Path

import pytest

from tests.conformance.corpus import Case
from tests.conformance.test_differential import difference

_PACKED = Path(__file__).parent.parent / "data" / "conformance" / "random.json.xz"


@pytest.mark.slow
def test_recorded_random_cases_are_decided_as_then() -> None:
    cases: list[Case] = json.loads(lzma.decompress(_PACKED.read_bytes()))

    found = {case["name"]: differs for case in cases if (differs := difference(case))}

    assert len(cases) == 300
    assert found == {}
