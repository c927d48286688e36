"""A few hundred damaged files; `python tools/fuzz_files.py COUNT SEED` tries thousands."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import onnx
import pytest

from tests.helpers.check_files import check_in_new_folder
from tests.helpers.mutate import damage, disturb, mutated
from tests.helpers.outcomes import positive_model

ROOT = Path(__file__).resolve().parents[2]
BATCHES, CASES = 4, 60


@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_files_are_one_line(tmp_path: Path, batch: int) -> None:
    tally = Counter(check_in_new_folder(seed, tmp_path) for seed in range(batch * CASES, (batch + 1) * CASES))
    assert sum(tally.values()) == CASES
    assert len(tally) > 3
    assert list(tmp_path.iterdir()) == []


def test_damage_is_done_and_done_again() -> None:
    model = positive_model()
    whole = model.SerializeToString()
    for seed in range(50):
        found = mutated(model, random.Random(seed))
        assert found == mutated(model, random.Random(seed))
        assert model.SerializeToString() == whole
    changed = [mutated(model, random.Random(seed)) != whole for seed in range(50)]
    assert sum(changed) > 40
    assert sum(damage(whole, random.Random(seed)) != whole for seed in range(50)) > 40
    disturb(onnx.ModelProto(), random.Random(0))


CRASH = """
import os, tests.helpers.check_files as checks
def crash(seed, parent):
    if seed == 1:
        os.abort()
    if seed == 2:
        raise AssertionError("two\\nlines")
    return "model 1"
checks.check_in_new_folder = crash
"""


def test_a_crash_of_native_code_is_told_by_its_seed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CRASH, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "fuzz_files.py"), "4", "0", "--workers", "1"],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("seed 1: the process ended with -6")
    assert lines[1:3] == ["seed 2: AssertionError: two", "lines"]
    assert lines[3:5] == ["| model 1 | 2 |", "| wrong | 2 |"]
    assert lines[5].startswith("4 cases in ")
    assert lines[5].endswith("; 2 failures")
