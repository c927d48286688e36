"""The benchmark of measuring, on a net small enough for a test."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from benchmarks import measure, nets, readme


def small(seed: int) -> onnx.ModelProto:
    net = nets.Net("small", seed)
    x = net.node("Relu", net.conv("x", (3, 8), 3, 4))
    x = net.node("Relu", net.conv(x, (8, 8), 3, 4))
    return net.model(x)


def test_it_reports_every_kind_and_puts_the_table_into_the_readme(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- bench:measure -->\nold\n<!-- /bench:measure -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(readme.replace, "__defaults__", (page,))
    monkeypatch.setattr(measure, "NETS", {"small": small})
    words = ["--pairs", "2", "--batch", "2", "--scan-batches", "2", "--no-memory", "--threads", "1", "--update-readme"]
    assert measure.main(words) == 0
    printed = capsys.readouterr().out
    assert (
        page.read_text(encoding="utf-8") == f"before\n<!-- bench:measure -->\n{printed}<!-- /bench:measure -->\nafter\n"
    )
    header, row = ([cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()[2::2])
    cells = dict(zip(header, row, strict=True))
    assert cells["net"] == "small"
    ratios = [re.fullmatch(r"(\d+\.\d\d) \((\d+\.\d\d)–(\d+\.\d\d)\)", cells[kind]) for kind in measure.KINDS]
    assert all(found is not None and float(found[1]) > 0 for found in ratios)
    assert re.fullmatch(r"\d+\.\d\d \(\d+\.\d\d\)", cells["whole scan"])
    # Counts and ends of 8 channels twice, and not the 2 x 8 x (56² + 14²) numbers that they come from.
    returned = cells["handed back, of activations"].partition(" B")[0]
    assert 0 < int(returned.replace(",", "")) < 4096


def test_memory_is_that_of_a_process(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(measure, "NETS", {"small": small})
    assert measure._peak_bytes("small", 4, 2, 0) > 1 << 20


def test_nets_have_the_sizes_of_their_names() -> None:
    for name, million in (("resnet18", 11.7), ("mobilenetv2", 3.5), ("vit_small", 22.0)):
        proto = nets.NETS[name](0)
        onnx.checker.check_model(proto)
        weights = sum(int(onnx.numpy_helper.to_array(tensor).size) for tensor in proto.graph.initializer)
        assert weights / 1e6 == pytest.approx(million, rel=0.05)
