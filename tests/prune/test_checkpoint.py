"""Checkpoints: a run that stopped anywhere goes on as if it had not."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from onnx_nepenthe.errors import UnreadableError, UsageError

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from torch.utils.data import DataLoader, Dataset  # noqa: E402

from onnx_nepenthe.prune import checkpoint  # noqa: E402
from onnx_nepenthe.prune.batches import Splits  # noqa: E402
from onnx_nepenthe.prune.checkpoint import PROGRESS, VERSION, Checkpoint, Pending, Progress, digest  # noqa: E402
from onnx_nepenthe.prune.loop import run  # noqa: E402
from onnx_nepenthe.prune.methods import METHODS  # noqa: E402
from onnx_nepenthe.prune.methods.easier import EasierConfig  # noqa: E402
from onnx_nepenthe.prune.methods.fast import FastConfig  # noqa: E402
from onnx_nepenthe.prune.methods.layer_folding import LayerFoldingConfig  # noqa: E402
from onnx_nepenthe.prune.rounds import Result, Round, Theta  # noqa: E402
from onnx_nepenthe.prune.settings import Settings  # noqa: E402
from onnx_nepenthe.prune.trainer import Trainer  # noqa: E402
from onnx_nepenthe.prune.training import Epoch, Midway, OwnTraining  # noqa: E402
from onnx_nepenthe.prune.tuning import Distillation, Pressure, Tuning  # noqa: E402
from tests.helpers.pruning import RECIPE, pruned, ring, same, splits, subject, weights  # noqa: E402

RECIPE = replace(RECIPE, epochs=2)
KILLED = Path(__file__).parents[1] / "helpers" / "killed.py"


class StoppedError(Exception):
    """Stands for anything that ends a process."""


class Stopping(Checkpoint):
    """Stops at the `at`-th write, before or after it."""

    at, before = 0, False

    def _write(self, name: str, value: Any) -> None:
        type(self).at -= 1
        if not self.at and self.before:
            raise StoppedError
        super()._write(name, value)
        if not self.at:
            raise StoppedError


def without_times(result: Result) -> list[Round]:
    """What may not differ: everything but the seconds."""
    return [
        replace(entry, seconds_s=0.0, losses=tuple(replace(epoch, seconds_s=0.0) for epoch in entry.losses))
        for entry in result.rounds
    ]


CASES: Mapping[str, dict[str, Any]] = {
    "sap": {"rounds": 1},
    "layer-folding": {"config": LayerFoldingConfig(threshold=0.15), "rounds": 1},
    "fast": {
        "config": FastConfig(near=1.0, extensions=1),
        "theta": Theta(accuracy=0.75),
        "rounds": 6,
        "pressure": Pressure(surrogate="hinge"),
        "distillation": Distillation(),
    },
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_that_is_stopped_at_every_write_comes_to_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    own = subject()
    expected = pruned(own, name, recipe=RECIPE, **case)
    monkeypatch.setattr("onnx_nepenthe.prune.loop.Checkpoint", Stopping)
    for tries in range(200):
        # Every write is reached by two processes: one ends before it, the next one after it.
        Stopping.at, Stopping.before = 1 if tries % 2 else 2, bool(tries % 2)
        again = subject(seed=9 if (tmp_path / PROGRESS).exists() else 0)
        try:
            result = pruned(again, name, recipe=RECIPE, checkpoint=tmp_path, resume=True, **case)
        except StoppedError:
            continue
        break
    assert tries > 10
    assert without_times(result) == without_times(expected)
    assert (result.chosen, result.reason, result.epochs) == (expected.chosen, expected.reason, expected.epochs)
    assert (result.test, result.dense_test) == (expected.test, expected.dense_test)
    assert same(weights(again), weights(own))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_that_is_killed_at_any_moment_comes_to_the_same(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(KILLED), str(tmp_path), "fast"],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert int((tmp_path / "kills").read_text()) > 3


def test_your_own_training_is_resumed_at_its_round(tmp_path: Path) -> None:
    samples = ring(64, 1)

    def train(module: torch.nn.Module, number: int) -> None:
        optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
        for _ in range(3):
            chosen = torch.randint(0, 64, (16,))
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(module(samples.tensors[0][chosen]), samples.tensors[1][chosen]).backward()
            optimiser.step()

    def result(folder: Path | None, rounds: int = 2, stop: int = -1) -> dict[str, torch.Tensor]:
        def stopping(module: torch.nn.Module, number: int) -> None:
            train(module, number)
            if number == stop:
                raise StoppedError

        own, training = subject(), OwnTraining(stopping, lambda module: 1.0)
        settings = Settings(Theta(accuracy=0.5), rounds, checkpoint=folder, resume=True)
        run(own, METHODS["easier"], EasierConfig(), Splits(samples), training, settings)
        return weights(own)

    expected = result(None)
    for stop in (0, 1, 2):
        with pytest.raises(StoppedError):
            result(tmp_path, stop=stop)
    assert same(result(tmp_path), expected)


def test_a_run_that_has_ended_is_only_read(tmp_path: Path) -> None:
    own = subject()
    result = pruned(own, recipe=RECIPE, checkpoint=tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir() if file.name != PROGRESS}
    again = subject(seed=5)
    trained: list[Any] = []
    repeated = pruned(again, recipe=RECIPE, checkpoint=tmp_path, resume=True, tell=trained.append)
    assert repeated.rounds == result.rounds
    assert same(weights(own), weights(again))
    assert trained == []
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    pruned(subject(), recipe=RECIPE, rounds=1, checkpoint=tmp_path)
    with pytest.raises(UsageError, match=r"holds a run; resume it \(--resume\), or take another folder"):
        pruned(subject(), recipe=RECIPE, rounds=1, checkpoint=tmp_path)


def test_resuming_where_there_is_nothing_starts(tmp_path: Path) -> None:
    assert len(pruned(subject(), recipe=RECIPE, rounds=1, checkpoint=tmp_path / "new", resume=True).rounds) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": replace(RECIPE, lr=0.25)}, "recipe.lr was 0.05, now 0.25"),
        ({"method": "egp"}, "method was 'easier', now 'egp'"),
        ({"config": EasierConfig(per_round=2)}, "config.per_round was 1, now 2"),
        ({"theta": Theta(points=3.0)}, "settings.theta.accuracy was 0.0, now None"),
        ({"pressure": Pressure()}, "settings.pressure.weight was None, now 0.1"),
        ({"rounds": 3}, "settings.rounds was 1, now 3"),
        ({"is_trained": True}, "settings.is_trained was False, now True"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    case = {"recipe": RECIPE, "rounds": 1, "checkpoint": tmp_path}
    pruned(subject(), **case)
    with pytest.raises(UsageError, match="a checkpoint of another run") as caught:
        pruned(subject(), resume=True, **case | changes)
    assert message in str(caught.value)


def test_another_network_or_other_data_are_refused_by_name(tmp_path: Path) -> None:
    pruned(subject(), recipe=RECIPE, rounds=1, checkpoint=tmp_path)
    with pytest.raises(UsageError, match="a checkpoint of another run: network was"):
        pruned(subject(depth=4), recipe=RECIPE, rounds=1, checkpoint=tmp_path, resume=True)
    method, settings = METHODS["easier"], Settings(Theta(accuracy=0.0), 1, checkpoint=tmp_path, resume=True)
    for data, name in (
        (replace(splits(), train=ring(256, 8)), "training data"),
        (replace(splits(), validation=ring(256, 8)), "validation data"),
    ):
        with pytest.raises(UsageError, match=f"a checkpoint of another run: {name} was"):
            run(subject(), method, method.config(), data, Trainer(RECIPE, cpu=True), settings)


def test_weights_that_were_given_have_to_be_the_same(tmp_path: Path) -> None:
    case = {"recipe": RECIPE, "rounds": 1, "checkpoint": tmp_path, "is_trained": True}
    pruned(subject(), **case)
    with pytest.raises(UsageError, match="a checkpoint of another run: weights was"):
        pruned(subject(seed=4), resume=True, **case)


def test_data_that_change_by_chance_are_known_again(tmp_path: Path) -> None:
    class Noisy(Dataset[Any]):
        def __len__(self) -> int:
            return 64

        def __getitem__(self, index: int) -> Any:
            return torch.rand(2), torch.tensor(index % 2)

    method = METHODS["easier"]
    for resume in (False, True):
        settings = Settings(Theta(accuracy=0.0), 1, checkpoint=tmp_path, resume=resume)
        data = Splits(DataLoader(Noisy(), 16, shuffle=True), ring(64, 2))
        result = run(subject(), method, method.config(), data, Trainer(RECIPE, cpu=True), settings)
        assert len(result.rounds) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "pickle"])
def test_a_damaged_checkpoint_is_said_to_be_one_and_nothing_in_it_runs(damage: str, tmp_path: Path) -> None:
    pruned(subject(), recipe=RECIPE, rounds=1, checkpoint=tmp_path)
    file, trace = tmp_path / PROGRESS, tmp_path / "trace"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.write_text, (trace, "was here")

    match damage:
        case "cut":
            file.write_bytes(file.read_bytes()[:-200])
        case "empty":
            file.write_bytes(b"")
        case "text":
            file.write_text("not a checkpoint")
        case "pickle":
            torch.save(Evil(), file)
            assert pickle.PROTO
    with pytest.raises(UnreadableError, match=f"{PROGRESS}: no checkpoint that can be read"):
        pruned(subject(), recipe=RECIPE, rounds=1, checkpoint=tmp_path, resume=True)
    assert not trace.exists()


def test_a_missing_network_is_said_to_be_missing(tmp_path: Path) -> None:
    pruned(subject(), recipe=RECIPE, rounds=1, checkpoint=tmp_path)
    (tmp_path / "round-001.pt").unlink()
    with pytest.raises(UnreadableError, match=r"round-001\.pt: no checkpoint that can be read"):
        pruned(subject(), recipe=RECIPE, rounds=1, checkpoint=tmp_path, resume=True)


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "VERSION", VERSION + 1)
    Checkpoint(tmp_path, {}).save(Progress())
    monkeypatch.undo()
    with pytest.raises(UsageError, match="another version of this tool"):
        Checkpoint(tmp_path, {}).load()


def test_all_that_is_pending_comes_back(tmp_path: Path) -> None:
    tuning = Tuning(2.5, 0.5, ("a", "b"), Pressure(weight=2.0, start=0.5), Distillation(temperature=2.0), frozen=0.25)
    pending = Pending("fold", 3, ("a",), (("a", "why"),), tuning, 1.5, True)
    optimiser = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]}
    midway = Midway((Epoch(1, 0.5, 2.0, 0.1, 3.0),), optimiser, {"scale": 2.0})
    saved = Progress(
        (), 0, 4.5, "", pending, {"module": {"w": torch.ones(2)}, "masks": {}, "padding": {"c": (1, 1)}}, midway
    )
    own = Checkpoint(tmp_path, {"a": 1, "b": (1, 2)})
    own.save(saved)
    found = own.load()
    assert (found.pending, found.spent, found.reason) == (pending, 4.5, "")
    assert found.midway is not None
    assert found.midway.epochs == midway.epochs
    assert found.midway.optimiser == optimiser
    assert found.midway.scaler == {"scale": 2.0}
    assert found.subject is not None
    assert found.subject["padding"] == {"c": (1, 1)}
    for bare in (Pending("dense", 0), Pending("round", 1, tuning=Tuning())):
        own.save(Progress(pending=bare))
        assert own.load().pending == bare
        assert own.load().midway is None


def test_a_digest_differs_with_names_shapes_types_and_values() -> None:
    base = {"a": torch.zeros(2, 3)}
    others: list[dict[str, torch.Tensor]] = [
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(2, 3, dtype=torch.int32)},
        {"a": torch.ones(2, 3)},
        {},
    ]
    found = {digest(base), *map(digest, others)}
    assert len(found) == 6
    assert digest(base) == digest({"a": torch.zeros(3, 2).T})


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(UnreadableError, match="no checkpoint can be written"):
        Checkpoint(taken, {}).save(Progress())
