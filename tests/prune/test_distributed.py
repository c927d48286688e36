"""Several processes come to what one comes to."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate")

from tests.helpers.shared_out import found

SCRIPT = Path(__file__).parents[1] / "helpers" / "shared_out.py"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def start(file: Path, rank: int, processes: int, port: int) -> subprocess.Popen[str]:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(file)],
        env=os.environ | place | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def together(file: Path, processes: int) -> list[dict[str, Any]]:
    """What each of so many processes comes to."""
    port = free_port()
    started = [start(file, rank, processes, port) for rank in range(processes)]
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * processes, "\n".join(outputs)
    everybody: list[dict[str, Any]] = json.loads(file.read_text())
    return everybody


def test_two_processes_have_the_counts_budgets_and_masks_of_one(tmp_path: Path) -> None:
    alone, (first, second) = found(), together(tmp_path / "found.json", 2)
    assert [entry["processes"] for entry in (alone, first, second)] == [1, 2, 2]
    assert first["counted"] == second["counted"] == alone["counted"]
    assert first["counted"]["nepenthe"]["samples"] == [203] * 3
    assert first["counted"]["nepenthe"]["masks"]
    assert len(first["counted"]["easier"]["linear"]) == 1
    assert len(first["counted"]["fast"]["linear"]) == 2, "by sensitivities, each process on its share"
    assert first["narrowed"] == second["narrowed"], "fitted to the samples of both"
    assert first["narrowed"]["names"] == alone["narrowed"]["names"] == ["2", "4"]
    for name, weight in alone["narrowed"]["weights"].items():
        np.testing.assert_allclose(first["narrowed"]["weights"][name], weight, rtol=1e-4, atol=1e-5)
    assert first["trained"] == second["trained"], "after a training all processes have the same network"
    # A step of two halves is a step of the whole but for the statistics of the norms, which each takes of its own half.
    assert first["trained"]["losses"] == pytest.approx(alone["trained"]["losses"], rel=0.3)
    assert sorted(alone["loaded"]) == sorted(first["loaded"] + second["loaded"]) == list(range(40))
    assert len(first["loaded"]) == len(second["loaded"])
