"""`bench`: its settings, the memory of each model, and what it writes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from onnx_nepenthe.cli import app
from tests.helpers.outcomes import save_case

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def case(tmp_path: Path) -> tuple[Path, Path]:
    return save_case(tmp_path)


def test_bench_times_all_batch_sizes_with_all_threads(invoke: Invoke, case: tuple[Path, Path]) -> None:
    given = ("--seconds", "0.01", "--no-memory", "--csv", "t.csv", "--json", "t.json")
    done = invoke("bench", case[0], case[0], "--threads", "1,2", "--batch", "1,3", *given)
    assert done.exit_code == 0, done.stderr
    with Path("t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    settings = [("1", "1"), ("1", "3"), ("2", "1"), ("2", "3")]
    assert [(row["threads"], row["batch"]) for row in rows] == [pair for pair in settings for _ in range(2)]
    assert [row["speedup"] != "" for row in rows] == [False, True] * 4
    page = (Path(__file__).resolve().parents[2] / "docs" / "edge.md").read_text(encoding="utf-8")
    assert {name for name in rows[0] if f"`{name}`" not in page} == {"model", "provider", "threads", "batch"}
    records = json.loads(Path("t.json").read_text(encoding="utf-8"))["models"]
    assert [f"{record['p99_ms']}" for record in records] == [row["p99_ms"] for row in rows]
    assert {record["peak_bytes"] for record in records} == {None}
    assert done.stdout.count("Each by itself") == 4
    assert "(threads 2, batch 3)" in done.stdout.splitlines()[-1]


def test_bench_measures_memory_in_a_process_for_each_model(
    invoke: Invoke, case: tuple[Path, Path], tmp_path: Path
) -> None:
    """In one process the second of two equal models would seem to need nothing."""
    weight = numpy_helper.from_array(np.ones((1, 6_000_000), np.float32), "w")
    node = helper.make_node("Gemm", ["x", "w"], ["y"])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", None]) for name in "xy"]
    ports[0].type.tensor_type.shape.dim[1].dim_value = 1
    graph = helper.make_graph([node], "wide", [ports[0]], [ports[1]], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "w.onnx")
    done = invoke("bench", tmp_path / "w.onnx", tmp_path / "w.onnx", "--seconds", "0.01", "--json", "m.json")
    assert done.exit_code == 0, done.stderr
    records = json.loads(Path("m.json").read_text(encoding="utf-8"))["models"]
    peaks = [record["peak_bytes"] for record in records]
    assert min(peaks) > weight.ByteSize()
    assert max(peaks) < 1.2 * min(peaks)
    assert all(record["process_bytes"] > record["peak_bytes"] for record in records)


WRONG_COUNTS = {"no number": "two", "nothing": "1,,2", "twice": "1,1", "too small": "0", "negative": "-1"}


@pytest.mark.parametrize("name", WRONG_COUNTS)
def test_bench_refuses_what_is_no_list_of_batch_sizes(name: str, invoke: Invoke, case: tuple[Path, Path]) -> None:
    done = invoke("bench", case[0], "--batch", WRONG_COUNTS[name])
    assert done.exit_code == 2
    assert "is not a list of different whole numbers from 1 on" in done.stderr


def test_a_batch_size_the_model_does_not_take_is_not_timed_twice(
    invoke: Invoke, case: tuple[Path, Path], tmp_path: Path
) -> None:
    model = onnx.load(case[0])
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "two.onnx")
    done = invoke("bench", "two.onnx", "--batch", "1,2,4", "--seconds", "0.01", "--no-memory", "--json", "t.json")
    assert done.exit_code == 0, done.stderr
    assert [record["batch"] for record in json.loads(Path("t.json").read_text(encoding="utf-8"))["models"]] == [2]


@pytest.mark.parametrize("more", [("--threads", "1,2"), ("--batch", "1,2")])
def test_a_table_is_of_one_setting(more: tuple[str, str], invoke: Invoke, case: tuple[Path, Path]) -> None:
    done = invoke("bench", case[0], "--table", "table.json", *more)
    assert done.exit_code == 2
    assert "give one of each" in done.stderr


def test_the_csv_may_not_be_the_model(invoke: Invoke, case: tuple[Path, Path]) -> None:
    done = invoke("bench", case[0], "--csv", case[0])
    assert done.exit_code == 2
    assert "is also the model" in done.stderr
