"""The table of measured costs: subtraction, memory, file, corruption."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_nepenthe.graph.reference import identity_model
from onnx_nepenthe.latency import table as module
from onnx_nepenthe.latency.table import CHAIN, SMALLEST_COST_S, OperatorTable, accelerators
from onnx_nepenthe.session import SessionConfig

OVERHEAD_S = 1e-5


class Machine:
    """Opens sessions that cost what their model says, on a clock of its own; every `spike`-th call is slow."""

    def __init__(self, spike: int = 0) -> None:
        self.now, self.calls, self.opened, self.spike = 0.0, 0, 0, spike

    def clock(self) -> float:
        return self.now

    def open(self, model: Any, config: SessionConfig) -> Machine.Session:
        self.opened += 1
        return Machine.Session(self, model if isinstance(model, float) else 0.0)

    class Session:
        provider = "fake"

        def __init__(self, machine: Machine, cost_s: float) -> None:
            self.machine, self.cost_s = machine, cost_s

        def run(self, feeds: object) -> list[Any]:
            machine = self.machine
            machine.calls += 1
            slow = 50.0 if machine.spike and machine.calls % machine.spike == 0 else 1.0
            machine.now += (OVERHEAD_S + self.cost_s) * slow
            return []


def table(machine: Machine, **options: Any) -> OperatorTable:
    return OperatorTable(clock=machine.clock, opener=machine.open, **options)


@pytest.mark.parametrize("cost_s", [2e-6, 1e-3, 0.5])
def test_cost_is_what_a_call_takes_beyond_an_empty_one(cost_s: float) -> None:
    assert table(Machine()).cost_s("conv", lambda: (cost_s, {})) == pytest.approx(cost_s, rel=1e-6)


def test_spikes_do_not_matter() -> None:
    assert table(Machine(spike=97)).cost_s("conv", lambda: (1e-3, {})) == pytest.approx(1e-3, rel=1e-6)


def test_a_cost_is_never_zero() -> None:
    assert table(Machine()).cost_s("nothing", lambda: (0.0, {})) == SMALLEST_COST_S


def test_each_key_is_measured_once() -> None:
    machine = Machine()
    costs = table(machine)
    first = costs.cost_s("conv", lambda: (1e-3, {}))
    opened = machine.opened

    def never() -> Any:
        raise AssertionError("measured twice")

    assert costs.cost_s("conv", never) == first
    costs.cost_s("gemm", lambda: (1e-3, {}))
    assert machine.opened == opened + 1


def test_a_measurement_keeps_its_budget() -> None:
    machine = Machine()
    table(machine, budget_s=0.04).cost_s("conv", lambda: (1e-4, {}))
    assert machine.now < 3 * 0.06, "the model and the two that show what a call and an operator cost by themselves"


def test_costs_survive_on_disk(tmp_path: Path) -> None:
    first = table(Machine(), folder=tmp_path / "cache")
    first.cost_s("conv", lambda: (1e-3, {}))
    machine = Machine()
    again = table(machine, folder=tmp_path / "cache")
    assert again.costs == first.costs
    assert machine.opened == 0
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".json"]


def test_another_configuration_has_another_file(tmp_path: Path) -> None:
    table(Machine(), folder=tmp_path).cost_s("conv", lambda: (1e-3, {}))
    other = table(Machine(), folder=tmp_path, config=SessionConfig(threads=1))
    assert other.costs == {}
    assert json.loads(other.fingerprint)["threads"] == 1


@pytest.mark.parametrize("name", ["cpu", "onnxruntime", "platform"])
def test_another_machine_or_version_has_another_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(Machine(), folder=tmp_path).cost_s("conv", lambda: (1e-3, {}))
    real = module.environment
    monkeypatch.setattr(module, "environment", lambda config: real(config) | {name: "another"})
    other = table(Machine(), folder=tmp_path)
    assert other.costs == {}
    other.cost_s("conv", lambda: (1e-3, {}))
    assert len(list(tmp_path.iterdir())) == 2


def test_another_accelerator_has_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SessionConfig("cuda")
    monkeypatch.setattr(module, "accelerators", lambda: ["NVIDIA A"])
    table(Machine(), folder=tmp_path, config=config).cost_s("conv", lambda: (1e-3, {}))
    monkeypatch.setattr(module, "accelerators", lambda: ["NVIDIA B"])
    assert table(Machine(), folder=tmp_path, config=config).costs == {}
    assert "accelerators" not in json.loads(table(Machine()).fingerprint)


def test_accelerators_are_read_from_their_driver(tmp_path: Path) -> None:
    assert accelerators(tmp_path) == []
    for number in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "gpus" / number).mkdir(parents=True)
        (tmp_path / "gpus" / number / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   10\n")
    assert accelerators(tmp_path) == ["NVIDIA H200", "NVIDIA H200"]
    (tmp_path / "version").write_text("NVRM version: 570.1\nGCC version: 12\n")
    assert accelerators(tmp_path) == ["NVRM version: 570.1", "NVIDIA H200", "NVIDIA H200"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"costs": 3}', '{"fingerprint": "another", "costs": {"conv": 1.0}}'],
    ids=["empty", "cut", "list", "no table", "elsewhere"],
)
def test_a_corrupt_cache_is_ignored_with_a_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    table(Machine(), folder=tmp_path).cost_s("conv", lambda: (1e-3, {}))
    (file,) = tmp_path.iterdir()
    file.write_text(text, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        fresh = table(Machine(), folder=tmp_path)
    assert fresh.costs == {}
    assert "ignoring the latency cache" in caplog.text
    assert fresh.cost_s("conv", lambda: (1e-3, {})) == pytest.approx(1e-3)


@pytest.mark.parametrize("cost", [-1.0, 0.0, "fast", None, float("nan"), float("inf")])
def test_costs_that_are_no_times_are_refused(cost: object) -> None:
    fresh = table(Machine())
    text = json.dumps({"fingerprint": fresh.fingerprint, "costs": {"conv": cost}})
    with pytest.raises(ValueError, match="not a positive number"):
        fresh.from_json(text)
    assert fresh.costs == {}


def test_json_round_trip() -> None:
    first, second = table(Machine()), table(Machine())
    first.cost_s("conv", lambda: (1e-3, {}))
    second.from_json(first.to_json())
    assert second.costs == first.costs


def test_a_folder_that_cannot_be_written_costs_only_a_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    costs = table(Machine(), folder=tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        assert costs.cost_s("conv", lambda: (1e-3, {})) == pytest.approx(1e-3)
    assert "cannot be written" in caplog.text


def test_dispatching_an_operator_is_part_of_its_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {1: 5e-6, CHAIN: 5e-6 + (CHAIN - 1) * 2e-7, "gemm": 6e-6}
    monkeypatch.setattr(OperatorTable, "_measure", lambda self, model, feeds: seconds[model])
    monkeypatch.setattr("onnx_nepenthe.latency.table.chain_model", lambda length: length)
    cost_s = OperatorTable().cost_s("gemm", lambda: ("gemm", {}))  # type: ignore[arg-type,return-value]
    assert cost_s == pytest.approx(1e-6 + 2e-7)


def test_a_real_model_has_a_cost() -> None:
    feeds = {"x": np.zeros(1, np.float32)}
    cost_s = OperatorTable(budget_s=0.004).cost_s("identity", lambda: (identity_model(), feeds))
    assert 0 < cost_s < 0.1
