"""The benchmark of measuring, on a net small enough for a test."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from benchmarks import measure, nets


def small(seed: int) -> onnx.ModelProto:
    net = nets.Net("small", seed)
    x = net.node("Relu", net.conv("x", (3, 8), 3, 4))
    x = net.node("Relu", net.conv(x, (8, 8), 3, 4))
    return net.model(x)


def test_it_reports_every_kind(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(measure, "NETS", {"small": small})
    assert measure.main(["--pairs", "2", "--batch", "2", "--scan-batches", "2", "--no-memory", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^\| (.+?) \| (\d+\.\d\d) \| .* \| ([\d,]+) \| (\d+\.\d\d)% \|$", printed, flags=re.MULTILINE)
    assert [row[0] for row in rows] == list(measure.KINDS)
    assert all(float(ratio) > 0 for _, ratio, _, _ in rows)
    # Counts and ends of 8 channels twice, and not the 2 x 8 x (56² + 14²) numbers that they come from.
    assert all(0 < int(returned.replace(",", "")) < 4096 for _, _, returned, _ in rows)
    assert "pre-scan of 2 batches" in printed


def test_memory_is_that_of_a_process(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(measure, "NETS", {"small": small})
    assert measure._peak_bytes("small", 4, 2, 0) > 1 << 20


def test_nets_have_the_sizes_of_their_names() -> None:
    for name, million in (("resnet18", 11.7), ("mobilenetv2", 3.5), ("vit_small", 22.0)):
        proto = nets.NETS[name](0)
        onnx.checker.check_model(proto)
        weights = sum(int(onnx.numpy_helper.to_array(tensor).size) for tensor in proto.graph.initializer)
        assert weights / 1e6 == pytest.approx(million, rel=0.05)
