"""`collapse --pareto`: the folder, by a latency table with made-up times, so that nothing depends on the machine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnx_nepenthe
from onnx_nepenthe import budgeted, exploring, workshop
from onnx_nepenthe.budgeted import Market
from onnx_nepenthe.errors import UsageError, VerificationError
from onnx_nepenthe.exploring import SAME, ladder
from onnx_nepenthe.frontier import Frontier
from onnx_nepenthe.options import Options
from onnx_nepenthe.outcome import Outcome
from onnx_nepenthe.publishing import is_front, publish
from tests.helpers.fronts import save_classifier, save_table
from tests.helpers.outcomes import comparison, positive_model

DROPS = (0.0, 10.0, 60.0)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Options]:
    folder = tmp_path_factory.mktemp("case")
    model, data = save_classifier(folder)
    options = Options(data=str(data), prove_budget_s=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workshop, "PART_BUDGET_S", 0.002)
        table = save_table(folder, model, options)
    return model, dataclasses.replace(options, latency_table=table)


@pytest.fixture(scope="module")
def written(case: tuple[Path, Options], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Frontier]:
    folder = tmp_path_factory.mktemp("written") / "out"
    return folder, publish(*case[:1], folder, case[1], DROPS)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_has_models_figures_and_a_plot(written: tuple[Path, Frontier]) -> None:
    folder, front = written
    record = json.loads((folder / "frontier.json").read_text(encoding="utf-8"))
    assert len(front.points) >= 2
    assert record["files"] == sorted(contents(folder))
    assert [entry["file"] for entry in record["points"]] == [point.file for point in front.points]
    assert (folder / "frontier.svg").read_text(encoding="utf-8").startswith("<svg")
    assert is_front(folder)


def test_each_model_is_what_its_figures_say(written: tuple[Path, Frontier], case: tuple[Path, Options]) -> None:
    folder, _ = written
    record = json.loads((folder / "frontier.json").read_text(encoding="utf-8"))
    assert record["points"][0]["allowed"] is None
    for entry in record["points"]:
        model = onnx.load(folder / entry["file"])
        onnx.checker.check_model(model, full_check=True)
        assert sum(node.op_type in ("Gemm", "MatMul") for node in model.graph.node) >= entry["weighted_depth"]
        assert sum(node.op_type == "Relu" for node in model.graph.node) == entry["rectifiers"]
        assert entry["allowed"] is None or entry["drop"] <= entry["allowed"]
        assert entry["drop_low"] <= entry["drop"] <= entry["drop_high"]
        assert entry["latency"]["measured"] is False
    speeds = [entry["latency"]["speedup"] for entry in record["points"]]
    assert speeds == sorted(speeds)
    assert speeds[-1] > 1.05


def test_the_same_command_twice_gives_the_same_folder(
    written: tuple[Path, Frontier], case: tuple[Path, Options], tmp_path: Path
) -> None:
    publish(case[0], tmp_path / "out", case[1], DROPS)
    assert contents(tmp_path / "out") == contents(written[0])


def test_a_front_is_replaced_and_anything_else_refused(
    written: tuple[Path, Frontier], case: tuple[Path, Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, front = written
    monkeypatch.setattr("onnx_nepenthe.publishing.explore", lambda *rest: front)
    before = contents(folder)
    publish(case[0], folder, case[1], ())
    assert contents(folder).keys() == before.keys()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="did not write"):
        publish(case[0], folder, case[1], ())
    (folder / "notes.txt").unlink()


def test_budgets_share_what_was_scored(
    case: tuple[Path, Options], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = exploring.open_market, []
    monkeypatch.setattr(exploring, "open_market", lambda *rest: calls.append(rest) or real(*rest))
    front = publish(case[0], tmp_path / "out", case[1], (0.0, 0.001))
    assert len(calls) == 1
    assert [missing.reason for missing in front.missing if missing.allowed == 0.001] == [SAME]


def test_without_labels_and_from_memory(case: tuple[Path, Options], tmp_path: Path) -> None:
    _, data = save_classifier(tmp_path, labels=False)
    options = dataclasses.replace(case[1], data=str(data))
    front = publish(onnx.load(case[0]), tmp_path / "out", options, (20.0,))
    assert front.exact.price.metric == "agreement"
    assert (tmp_path / "out" / "00-exact.onnx").exists()


def test_where_nothing_is_exact_the_input_is_copied(
    written: tuple[Path, Frontier], case: tuple[Path, Options], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = written[1].exact
    same = dataclasses.replace(first, outcome=dataclasses.replace(first.outcome, model=None))
    monkeypatch.setattr("onnx_nepenthe.publishing.explore", lambda *rest: Frontier((same,)))
    publish(case[0], tmp_path / "a", case[1], ())
    assert (tmp_path / "a" / first.file).read_bytes() == case[0].read_bytes()
    publish(onnx.load(case[0]), tmp_path / "b", case[1], ())
    assert len(onnx.load(tmp_path / "b" / first.file).graph.node) == len(onnx.load(case[0]).graph.node)


def test_the_input_is_as_fast_as_itself(
    tmp_path: Path, case: tuple[Path, Options], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = exploring.open_market

    def without_gain(*rest: object) -> Market:
        market = real(*rest)  # type: ignore[arg-type]
        return dataclasses.replace(market, plain=dataclasses.replace(market.plain, model=None, latency=comparison(0.9)))

    monkeypatch.setattr(exploring, "open_market", without_gain)
    (point, *_) = publish(case[0], tmp_path / "out", case[1], (0.0,)).points
    assert (point.latency.speedup, point.latency.low, point.latency.high, point.latency.pairs) == (1.0, 1.0, 1.0, 0)
    assert (tmp_path / "out" / point.file).read_bytes() == case[0].read_bytes()


def test_a_budget_that_cannot_be_kept_is_named(
    case: tuple[Path, Options], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(market: Market, options: Options) -> Outcome:
        raise VerificationError("the price cannot be kept")

    monkeypatch.setattr(exploring, "buy", fails)
    front = publish(case[0], tmp_path / "out", case[1], (1.0,))
    assert [point.file for point in front.points] == ["00-exact.onnx"]
    assert [(missing.allowed, missing.reason) for missing in front.missing] == [(1.0, "the price cannot be kept")]


def test_weights_that_are_inputs_are_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgeted, "compare_models", lambda *rest: comparison(1.0))
    model = positive_model()
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    x = np.random.default_rng(0).uniform(-1, 1, (60, 4)).astype(np.float32)
    options = Options(data={"x": x}, prove_budget_s=0.0, latency="off", freeze_initializers=True)
    front = publish(model, tmp_path / "out", options, (0.0,))
    written = onnx.load(tmp_path / "out" / front.exact.file)
    assert [value.name for value in written.graph.input] == ["x"]


def test_the_facade_writes_a_front(case: tuple[Path, Options], tmp_path: Path) -> None:
    options = case[1]
    front = onnx_nepenthe.pareto(
        case[0],
        tmp_path / "out",
        data=options.data,
        drops=[60.0],
        prove_budget_s=0.0,
        latency_table=options.latency_table,
    )
    assert {point.file for point in front.points} < set(contents(tmp_path / "out"))


@pytest.mark.parametrize(
    ("max_drop", "drops", "expected"),
    [
        (None, (), (0.0, 0.5, 1.0, 2.0, 4.0)),
        (1.0, (), (0.0, 0.125, 0.25, 0.5, 1.0)),
        (None, (3.0, 1.0, 3.0), (1.0, 3.0)),
        (2.0, (1.0, 3.0), (1.0,)),
    ],
)
def test_budgets_go_up_to_the_largest(
    max_drop: float | None, drops: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    assert ladder(Options(max_drop=max_drop), drops) == expected


@pytest.mark.parametrize(
    ("more", "drops", "message"),
    [
        ({"data": None}, (), "give --data"),
        ({"target_speedup": 2.0}, (), "leave out --target-speedup"),
        ({}, (-1.0,), "0 or more"),
        ({"max_drop": 1.0}, (2.0,), "above --max-drop 1"),
        ({"metric": "bleu"}, (), "no metric is called"),
    ],
)
def test_contradictions_are_named(
    case: tuple[Path, Options], tmp_path: Path, more: dict[str, object], drops: tuple[float, ...], message: str
) -> None:
    options = dataclasses.replace(case[1], **more)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        publish(case[0], tmp_path / "out", options, drops)
    assert not (tmp_path / "out").exists()
