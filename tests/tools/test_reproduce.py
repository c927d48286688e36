"""tools/reproduce.py: the shape of its tables and what stands behind them; never its times."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("accelerate")
pytest.importorskip("sklearn")
torch = pytest.importorskip("torch")

TOOLS = Path(__file__).resolve().parents[2] / "tools"
TINY = ("--network", "mlp", "--width", "0.25", "--epochs", "2", "--rounds", "2", "--seeds", "1", "--threads", "1")


@pytest.fixture(scope="module")
def command() -> Iterator[Any]:
    threads = torch.get_num_threads()
    sys.path.insert(0, str(TOOLS))
    try:
        yield importlib.import_module("reproducing.main")
    finally:
        sys.path.remove(str(TOOLS))
        torch.set_num_threads(threads)


def table(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_methods_are_run_collapsed_and_timed_again(
    command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (*TINY, "--methods", "easier", "--theta", "0", "--keep", str(tmp_path))
    given = (*given, "--timed-s", "0.2")
    assert command.main(["methods", *given]) == 0
    head, dense, easier = table(capsys.readouterr().out)
    assert len(easier) == len(dense) == len(head) == 10
    (row,) = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert (row["linear"], row["shipped"]["gone"], row["sites"], row["trainings"]) == (2, 2, 3, 3)
    # What is composed depends on what is timed to be faster.
    assert row["shipped"]["depth_before"] - 2 <= row["shipped"]["depth"] <= row["shipped"]["depth_before"]
    assert row["shipped"]["accuracy"] == pytest.approx(row["test"], abs=0.01)
    assert command.main(["retime", "--keep", str(tmp_path), "--timed-s", "0.2"]) == 0
    assert [row[:6] for row in table(capsys.readouterr().out)] == [head[:6], dense[:6], easier[:6]]


def test_one_shot_and_gradual_end_at_the_same_sparsity(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["pair", *TINY, "--sparsity", "0.8"]) == 0
    _, one_shot, gradual = table(capsys.readouterr().out)
    assert (one_shot[1], gradual[1]) == ("80.0 %", "80.0 %")
    assert all(float(cell) >= 0 for row in (one_shot, gradual) for cell in row[3:])


def test_the_curve_has_a_point_for_every_round(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["curve", *TINY]) == 0
    rounds, index, accuracy = table(capsys.readouterr().out)
    assert rounds[1:] == ["0", "1", "2"]
    assert len(index) == len(accuracy) == 4
    assert all(0 < float(cell) < 1 for cell in index[1:])


def test_a_long_curve_is_of_means(command: Any) -> None:
    tables = importlib.import_module("reproducing.tables")
    numbers = tuple(float(at) for at in range(33))
    row = type("Row", (), {"pq": numbers, "accuracy": tuple(at / 100 for at in numbers)})()
    rounds, index, accuracy = table(tables.curve(row))
    assert rounds[:3] == ["rounds", "0–2", "3–5"]
    assert (rounds[-1], len(rounds)) == ("30–32", 12)
    assert (index[1], index[-1], accuracy[2]) == ("1.000", "31.000", "4.0")


def test_cifar_is_read_from_jpeg_or_arrays_and_split(command: Any, tmp_path: Path) -> None:
    import io  # noqa: PLC0415

    from PIL import Image  # noqa: PLC0415

    parts = []
    for number in range(20):
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32), (12 * number, 0, 0)).save(buffer, "JPEG")
        parts.append(np.frombuffer(buffer.getvalue(), np.uint8))
    offsets = np.cumsum([0, *map(len, parts)])
    for name, kept in (("train", offsets[:-1]), ("test", offsets)):
        np.savez(tmp_path / f"{name}.npz", jpeg=np.concatenate(parts), offsets=kept, labels=np.arange(20) % 10)
    case = importlib.import_module("reproducing.data").cifar10(tmp_path, None)
    assert [len(part) for part in vars(case.splits).values()] == [18, 2, 20]
    few = importlib.import_module("reproducing.data").cifar10(tmp_path, 12)
    assert [len(part) for part in vars(few.splits).values()] == [12, 8, 12], "the others validate"
    image, label = case.splits.test[19]
    assert image.shape == (3, 32, 32)
    assert int(label) == 9
    assert float(image[0].mean()) == pytest.approx((12 * 19 / 255 - 0.485) / 0.229, abs=0.1)


def test_mistakes_are_one_line(command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["methods", "--data", "cifar10", "--cifar10", str(tmp_path)]) == 1
    assert "train.npz: no such file" in capsys.readouterr().err
    assert command.main(["retime"]) == 2
    assert command.main(["methods", *TINY, "--methods", "none"]) == 2
    assert "no method is called 'none'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--methods", "one-shot,fast+narrow", "--settle", "0"), "fast+narrow needs --settle"),
        (("--methods", "one-shot,fast:depth"), "'fast:depth' is not NAME:OPTION=VALUE"),
    ],
)
def test_no_method_is_trained_before_all_are_known_to_make_sense(
    command: Any, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["methods", *words]) != 0
    told = capsys.readouterr().err
    assert message in told
    assert "one-shot, seed" not in told
