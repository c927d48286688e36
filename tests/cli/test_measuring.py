"""Shards, recorded measurements, drift and flip rates on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from onnx_nepenthe.cli import app
from tests.helpers.outcomes import save_case

Invoke = Callable[..., Result]
FAST = ("--latency", "off", "--no-cache")


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def case(tmp_path: Path) -> tuple[Path, Path]:
    return save_case(tmp_path)


def halves(data: Path, folder: Path) -> list[Path]:
    arrays = dict(np.load(data))
    paths = [folder / f"half{at}.npz" for at in range(2)]
    middle = len(next(iter(arrays.values()))) // 2
    for path, at in zip(paths, (slice(middle), slice(middle, None)), strict=True):
        np.savez(path, **{name: array[at] for name, array in arrays.items()})
    return paths


def test_shards_merge_and_collapse_without_data(invoke: Invoke, case: tuple[Path, Path], tmp_path: Path) -> None:
    model, data = case
    shards = [tmp_path / f"shard{at}.json" for at in range(2)]
    for part, shard in zip(halves(data, tmp_path), shards, strict=True):
        assert invoke("inspect", model, "--data", part, "--json", shard).exit_code == 0
    done = invoke("inspect", model, "--merge", *shards, "--json", "all.json")
    assert done.exit_code == 0, done.output
    parts = [json.loads(shard.read_bytes())["measurement"] for shard in shards]
    total = json.loads(Path("all.json").read_bytes())["measurement"]
    assert total["samples"] == sum(part["samples"] for part in parts)
    for key, counts in total["counts"].items():
        assert counts["counts"] == np.sum([part["counts"][key]["counts"] for part in parts], axis=0).tolist()
    done = invoke("collapse", model, "--measurement", "all.json", *FAST, "-o", "out.onnx")
    assert done.exit_code == 0, done.output
    assert Path("out.onnx").exists()


def test_a_shard_of_another_model_is_refused_by_name(invoke: Invoke, case: tuple[Path, Path]) -> None:
    model, data = case
    invoke("inspect", model, "--data", data, "--json", "m.json")
    record = json.loads(Path("m.json").read_bytes())
    record["measurement"]["model_hash"] = "0" * 64
    Path("other.json").write_text(json.dumps(record))
    done = invoke("inspect", model, "--merge", "m.json", "other.json")
    assert done.exit_code == 2
    assert "other.json: cannot merge measurements of different models" in " ".join(done.stderr.split())
    done = invoke("collapse", model, "--measurement", "other.json", *FAST)
    assert done.exit_code == 2
    assert "is of another model" in " ".join(done.stderr.split())


def test_drift_ends_with_3(invoke: Invoke, case: tuple[Path, Path]) -> None:
    model, data = case
    invoke("inspect", model, "--data", data, "--json", "m.json")
    done = invoke("inspect", model, "--against", "m.json", "--data", data)
    assert done.exit_code == 0, done.output
    arrays = dict(np.load(data))
    np.savez("new.npz", **{name: -100 * array if array.dtype.kind == "f" else array for name, array in arrays.items()})
    done = invoke("inspect", model, "--against", "m.json", "--data", "new.npz", "--json", "drift.json")
    assert done.exit_code == 3
    assert "no longer hold" in done.stdout
    (drift, *_) = json.loads(Path("drift.json").read_bytes())["drifts"]
    assert drift["channels"]
    assert drift["message"] in " ".join(done.stdout.split())


def test_what_data_cannot_support_is_refused(invoke: Invoke, case: tuple[Path, Path]) -> None:
    model, data = case
    done = invoke("inspect", model, "--data", data, "--max-flip-rate", "1e-6", "-v")
    assert done.exit_code == 0
    assert "3000000 samples" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--merge"], "give both or neither"),
        (["some.json"], "give both or neither"),
        (["--merge", "some.json", "--data", "d.npz"], "give one of the two"),
        (["--merge", "absent.json"], "absent.json: cannot be read"),
        (["--against", "absent.json"], "absent.json: cannot be read"),
        (["--max-flip-rate", "2"], "--max-flip-rate"),
    ],
)
def test_contradictions_are_one_line(invoke: Invoke, case: tuple[Path, Path], words: list[str], reason: str) -> None:
    done = invoke("inspect", case[0], *words)
    assert done.exit_code in (1, 2)
    assert reason in " ".join(done.stderr.split())


def test_a_scan_with_sums_is_refused(invoke: Invoke, case: tuple[Path, Path]) -> None:
    model, data = case
    assert invoke("inspect", model, "--data", data, "--scan", "--line-sums").exit_code == 2
    done = invoke("inspect", model, "--data", data, "--line-sums", "--json", "-", "-q")
    assert json.loads(done.stdout)["measurement"]["lines"]
    assert invoke("inspect", model, "--data", data, "--scan", "--workers", "2").exit_code == 0


def test_observed_decisions_say_what_samples_are_worth(invoke: Invoke, case: tuple[Path, Path]) -> None:
    model, data = case
    done = invoke("inspect", model, "--data", data)
    assert "3,000 samples would" in " ".join(done.stdout.split())
