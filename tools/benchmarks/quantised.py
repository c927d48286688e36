"""What collapsing first does to a model that is then quantised or converted to float16."""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxslim
from benchmarks import readme
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

import onnx_nepenthe
from onnx_nepenthe.latency import Comparison, compare
from onnx_nepenthe.options import LatencyMode
from onnx_nepenthe.session import SessionConfig, environment, open_session

MODELS = Path(__file__).resolve().parents[2] / "models"
PAGE = MODELS.parent / "docs" / "pipelines.md"
BUNDLED = ("digits-resnet", "digits-mlp")
FORMS = ("float32", "int8", "float16")
WAYS = ("as it is", "collapsed", "onnxslim, collapsed")
Arrays = Mapping[str, npt.NDArray[Any]]


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Calibration data in batches, as `quantize_static` takes them."""

    def __init__(self, data: Arrays, batch: int = 32) -> None:
        self._feeds = iter([{"input": data["input"][at : at + batch]} for at in range(0, len(data["input"]), batch)])

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """The next feed, None at the end."""
        return next(self._feeds, None)


@dataclass(frozen=True)
class Row:
    """One model in one form.

    Attributes:
        model: its name.
        way: what was done before the conversion, one of WAYS.
        form: one of FORMS.
        nodes: of the graph, those that quantise and dequantise included.
        size_bytes: of the file.
        accuracy: share of the test images, of 1.
        latency: against the same form of the model as it is; None for that one, and when nothing is timed.
    """

    model: str
    way: str
    form: str
    nodes: int
    size_bytes: int
    accuracy: float
    latency: Comparison | None = None


def prepared(model: onnx.ModelProto, way: str, data: Arrays, latency: LatencyMode) -> onnx.ModelProto:
    """The model that is converted."""
    if way == "as it is":
        return model
    slimmed = onnxslim.slim(model) if way.startswith("onnxslim") else model
    return onnx_nepenthe.collapse(slimmed, data={"input": data["input"]}, latency=latency, threads=1)


def written(model: onnx.ModelProto, form: str, data: Arrays, folder: Path) -> Path:
    """The file of the model in one of FORMS; converted as onnxruntime's documentation says, its own clean-up first."""
    path = folder / f"{form}.onnx"
    match form:
        case "float32":
            onnx.save(model, path)
        case "int8":
            # Given in memory, the model would be left without its weights.
            onnx.save(model, folder / "given.onnx")
            quant_pre_process(folder / "given.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
            quantize_static(folder / "prepared.onnx", path, Reader(data), per_channel=True)
        case _:
            with warnings.catch_warnings():
                # One warning for each tensor with a weight too small for float16.
                warnings.simplefilter("ignore")
                onnx.save(convert_float_to_float16(model, keep_io_types=True), path)
    return path


def accuracy(path: Path, data: Arrays) -> float:
    """The share of `data` that the model classifies as its label says."""
    (scores,) = open_session(path, SessionConfig(threads=1)).run({"input": data["input"]})
    return float(np.mean(scores.argmax(axis=1) == data["labels"]))


def measured(name: str, *, latency: LatencyMode = "measured", budget_s: float = 0.0) -> Iterator[Row]:
    """All forms of a bundled model after each of WAYS.

    Args:
        name: without folder and suffix.
        latency: of our collapse.
        budget_s: of each comparison; 0 to time nothing.
    """
    with np.load(MODELS / "digits-calibration.npz") as archive:
        data = dict(archive)
    with np.load(MODELS / "digits-test.npz") as archive:
        test = dict(archive)
    with tempfile.TemporaryDirectory() as name_of_folder:
        first: dict[str, Path] = {}
        for number, way in enumerate(WAYS):
            model = prepared(onnx.load(MODELS / f"{name}.onnx"), way, data, latency)
            folder = Path(name_of_folder) / str(number)
            folder.mkdir()
            for form in FORMS:
                path = written(model, form, data, folder)
                nodes, size = len(onnx.load(path).graph.node), path.stat().st_size
                timed = _timed(first[form], path, test, budget_s) if form in first and budget_s else None
                yield Row(name, way, form, nodes, size, accuracy(path, test), timed)
                first.setdefault(form, path)


def _timed(before: Path, after: Path, test: Arrays, budget_s: float) -> Comparison:
    config = SessionConfig(threads=1)
    sessions = [open_session(path, config) for path in (before, after, before)]
    feeds = {"input": test["input"][:1]}
    rng = np.random.default_rng(0)
    return compare(*sessions[:2], feeds, rng=rng, control=sessions[2], budget_s=budget_s, threads=1)


def markdown(rows: list[Row], latency: str = "measured") -> str:
    """The table with its caption; without columns of times when nothing was timed.

    Args:
        latency: how the collapse chose.
    """
    machine, is_timed = environment(), any(row.latency for row in rows)
    lines = [
        f"The bundled models, converted as they are and after `collapse --latency {latency}`: `quantize_static` (int8, "
        "QDQ, per channel, after `quant_pre_process`) and `convert_float_to_float16` of onnxruntime "
        f"{machine['onnxruntime']}; accuracy on the {_images():,} test images.",
        "",
        "| model | before | form | nodes | kB | accuracy, % |" + (" times faster | A/A control |" if is_timed else ""),
        "|---|---|---|---|---|---|" + ("---|---|" if is_timed else ""),
    ]
    if is_timed:
        lines[0] += (
            f" The ratio is against the same form of the model as it is (batch 1, one thread, {machine['cpu']}), with "
            "its 95 % interval and that model against itself."
        )
    for row in rows:
        size, points = f"{row.size_bytes / 1000:.0f}", f"{100 * row.accuracy:.2f}"
        times = _times(row.latency) if is_timed else ""
        lines.append(f"| {row.model} | {row.way} | {row.form} | {row.nodes} | {size} | {points} |{times}")
    return "\n".join(lines)


def _times(timed: Comparison | None) -> str:
    if timed is None:
        return " | |"
    ratio = f"{timed.speedup:.2f} ({timed.low:.2f}–{timed.high:.2f})"
    return f" {ratio} | {timed.control_low:.2f}–{timed.control_high:.2f} |"


def _images() -> int:
    with np.load(MODELS / "digits-test.npz") as archive:
        return len(archive["labels"])


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="tools/bench.py quantised", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=BUNDLED, default=BUNDLED)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each comparison; 0 to time nothing")
    parser.add_argument("--latency", choices=("measured", "macs", "off"), default="measured", help="of the collapse")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--update-docs", action="store_true", help="put the table into docs/pipelines.md")
    options = parser.parse_args(arguments)
    rows = [row for name in options.models for row in measured(name, latency=options.latency, budget_s=options.seconds)]
    table = markdown(rows, options.latency)
    print(table)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    if options.update_docs:
        readme.replace("quantised", table, PAGE)
