"""Peak memory in a process of its own, and what happens where there is none to be had."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onnx_nepenthe.latency import footprint_of
from onnx_nepenthe.latency.footprint import Footprint, resident_bytes
from onnx_nepenthe.session import SessionConfig

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits-mlp.onnx"
NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux has it")


def in_own_process(path: Path) -> Footprint | None:
    return footprint_of(path, {"input": np.zeros((1, 1, 8, 8), np.float32)}, SessionConfig(threads=1))


@NEEDS_PROC
def test_the_highest_resident_set_is_never_below_the_present_one() -> None:
    now = resident_bytes("VmRSS")
    assert resident_bytes("VmHWM") >= now > 1_000_000


@NEEDS_PROC
def test_a_process_that_fails_is_told_of_and_gives_nothing(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.WARNING):
        assert in_own_process(tmp_path / "nosuch.onnx") is None
    assert "its process failed (CalledProcessError)" in caplog.text


@NEEDS_PROC
def test_what_lies_in_the_working_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise SystemExit(1)", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    assert in_own_process(MODEL) is not None


def test_a_system_without_proc_is_told_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("onnx_nepenthe.latency.footprint._STATUS", Path("/nosuch/status"))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    with caplog.at_level(logging.WARNING):
        assert in_own_process(MODEL) is None
    assert "this system has no" in caplog.text
