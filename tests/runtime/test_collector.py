"""What a first start does to the garbage collector, in a process of its own."""

import subprocess
import sys

import pytest

SCRIPT = """
import gc
from meshsdk import Mesh, Options
first, second = (Mesh.static({}, options=Options(freeze_objects=FREEZE)) for _ in range(2))
with first:
    frozen = gc.get_freeze_count()
kept = [[] for _ in range(1000)]
with second:
    print(frozen > 10000, gc.get_freeze_count() <= frozen)
"""


@pytest.mark.parametrize(("freeze", "expected"), [(True, "True True"), (False, "False True")])
def test_the_first_start_sets_modules_aside_and_no_later_one(freeze: bool, expected: str) -> None:
    code = SCRIPT.replace("FREEZE", repr(freeze))

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == expected
