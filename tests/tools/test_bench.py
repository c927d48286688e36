"""tools/bench.py: the shape of its tables; never its times."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("onnxslim", "onnxsim", "onnxscript", "onnx-nepenthe")
COLUMNS = 8

for needed in ("onnxslim", "onnxsim", "onnxscript"):
    pytest.importorskip(needed)


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "bench.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=300)


def cells(table: str) -> list[list[str]]:
    """Cells of a table's rows, the header first."""
    lines = [line for line in table.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sigmoid, Relu, Gemm, Gemm: one rectifier and one operator too many."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((4, 4), dtype=np.float32), name) for name in ("w", "v")]
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["a"], name="sigmoid"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Gemm", ["b", "w"], ["c"], name="first"),
        helper.make_node("Gemm", ["c", "v"], ["y"], name="second"),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "tiny", ports[:1], ports[1:], weights)
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    path = tmp_path_factory.mktemp("bench") / "tiny.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def compared(tiny: Path) -> tuple[str, dict]:
    """What one run prints, and its JSON."""
    report = tiny.with_suffix(".json")
    done = bench(
        "compare", tiny, "--only", "tiny", "--budget", "0.05", "--latency", "off", "--markdown", "--json", report
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "--markdown shows no progress"
    return done.stdout, json.loads(report.read_text(encoding="utf-8"))


def test_compare_has_a_row_per_tool(compared: tuple[str, dict]) -> None:
    header, *rows = cells(compared[0])
    assert header[:5] == ["model", "tool", "rectifiers", "weighted depth", "nodes"]
    assert {len(row) for row in (header, *rows)} == {COLUMNS}
    assert [row[1] for row in rows] == list(TOOLS)
    assert [row[0] for row in rows] == ["tiny", "", "", ""]


def test_compare_counts_and_errors(compared: tuple[str, dict]) -> None:
    *_, ours = cells(compared[0])
    assert ours[2:5] == ["1 → 0", "2 → 1", "4 → 2"]
    assert re.fullmatch(r"\d+\.\d\d× \(\d+\.\d\d–\d+\.\d\d\)", ours[5])
    assert re.fullmatch(r"\d+\.\d\d–\d+\.\d\d", ours[6])
    for row in compared[1]["rows"]:
        assert row["failure"] == ""
        assert row["before"] == {"rectifiers": 1, "weighted_depth": 2, "nodes": 4}
        assert 0 <= row["error"] < 1e-5
        assert row["latency"]["low"] <= row["latency"]["speedup"] <= row["latency"]["high"]


def test_compare_says_what_ran_where(compared: tuple[str, dict]) -> None:
    caption, facts = compared[0].splitlines()[0], compared[1]["facts"]
    for tool in TOOLS:
        assert f"{tool} {facts['tools'][tool]}" in caption
    assert (
        f"onnxruntime {facts['onnxruntime']} with its own graph optimisation on for all, {facts['provider']},"
        in caption
    )
    assert facts["cpu"] in caption
    assert "batch 1" in caption
    assert "Calibration data" not in caption, "tiny came without"
    assert facts["made"] == []


def test_a_model_that_cannot_be_run_is_a_row_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    node = helper.make_node("Nowhere", ["x"], ["y"], domain="nobody")
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([node], "broken", ports[:1], ports[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nobody", 1)]
    onnx.save(helper.make_model(graph, ir_version=9, opset_imports=opsets), path)
    done = bench("compare", path, "--only", "broken")
    assert done.returncode == 0, done.stderr
    _, row = cells(done.stdout)
    assert len(row) == COLUMNS
    assert row[0] == "broken"
    assert row[2].startswith("cannot be run here: ")
    assert "Nowhere" in row[2]


def test_a_file_that_is_not_there() -> None:
    done = bench("compare", "no/such.onnx")
    assert done.returncode == 1
    assert done.stderr.strip() == "no/such.onnx: there is no such file"


def test_scaling_has_a_row_per_size(tmp_path: Path) -> None:
    report = tmp_path / "scaling.json"
    done = bench("scaling", "--sizes", "20", "40", "--latency", "off", "macs", "--json", report)
    assert done.returncode == 0, done.stderr
    header, *rows = cells(done.stdout)
    assert header[:2] == ["`--latency`", "operators"]
    found = json.loads(report.read_text(encoding="utf-8"))
    assert [int(row[1]) for row in rows] == [entry["operators"] for entry in found]
    assert [entry["latency"] for entry in found] == ["off", "off", "macs", "macs"]
    assert all(entry["after"] < entry["operators"] for entry in found)


def test_peak_memory_is_told_beside_the_weights_and_that_of_a_small_model(tmp_path: Path) -> None:
    report = tmp_path / "large.json"
    commands = ("inspect", "collapse --latency off")
    given = ("--mib", "160", "--folder", tmp_path, "--kind", "perceptron", "--command", *commands)
    done = bench("large", *given, "--json", report)
    assert done.returncode == 0, done.stderr
    _, *rows = cells(done.stdout)
    found = json.loads(report.read_text(encoding="utf-8"))
    assert [row[1] for row in rows] == list(commands)
    assert [path.name for path in tmp_path.iterdir()] == ["large.json"]
    for entry in found:
        assert entry["weights_mib"] >= 160
        assert entry["peak_mib"] > entry["small_mib"] > 0


@pytest.mark.parametrize("arguments", [[], ["nothing"]])
def test_it_names_its_benchmarks(arguments: list[str]) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: tools/bench.py NAME")
    assert "compare" in done.stderr
    assert "scaling" in done.stderr
    assert "readme" not in done.stderr


@pytest.fixture
def readme(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module that writes tables into the page; forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    yield importlib.import_module("benchmarks.readme")
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "benchmarks":
            del sys.modules[name]


def test_the_readme_has_a_place_for_each_table() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("table", "scaling"):
        assert page.count(f"<!-- bench:{name} -->") == page.count(f"<!-- /bench:{name} -->") == 1


def test_a_table_is_put_between_its_markers(readme: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nb\n", encoding="utf-8")
    readme.replace("x", "new", path)
    readme.replace("x", "newer\n", path)
    assert path.read_text(encoding="utf-8") == "a\n<!-- bench:x -->\nnewer\n<!-- /bench:x -->\nb\n"


@pytest.mark.parametrize("page", ["", "<!-- bench:x -->", "<!-- /bench:x --> <!-- bench:x -->", "<!-- /bench:x -->"])
def test_a_page_without_markers_is_left_alone(readme: ModuleType, tmp_path: Path, page: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(page, encoding="utf-8")
    with pytest.raises(ValueError, match="once each"):
        readme.replace("x", "new", path)
    assert path.read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('no such axis\\nmore')", "ValueError: no such axis"),
        ("os._exit(7)", "the process died (exit code 7)"),
        ("time.sleep(60)", "not done after 3 s"),
    ],
    ids=["raises", "dies", "hangs"],
)
def test_a_tool_that_fails(tmp_path: Path, body: str, reason: str) -> None:
    """In a script of its own, as each tool runs in a fresh process that imports it again."""
    script, seconds = tmp_path / "fails.py", 3 if "3 s" in reason else 50
    script.write_text(
        f"import os, time\nfrom benchmarks import optimisers\n"
        f"def fail(model, job):\n    {body}\n"
        "optimisers.OPTIMISERS['onnxslim'] = fail\n"
        "if __name__ == '__main__':\n"
        f"    print(optimisers.run('onnxslim', optimisers.Job(b''), {seconds}).failure)\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tools")},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert done.stdout.strip() == reason, done.stderr
