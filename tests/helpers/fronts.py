"""A small classifier with data, and a latency table with made-up times for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnx_nepenthe.options import Options
from onnx_nepenthe.session import open_session
from onnx_nepenthe.tabling import measured_table
from tests.helpers.build import Builder

FEATURES, CLASSES, SAMPLES = 6, 4, 300
TIMES = {"substitute": 1e-5, "part": 1e-4, "model": 1e-3}


def classifier() -> onnx.ModelProto:
    """Three products with rectifiers between, on which some budgets buy and some do not."""
    b = Builder(np.random.default_rng(3))
    x = b.node("Relu", b.gemm("x", (FEATURES, 48)))
    x = b.node("Relu", b.gemm(x, (48, 24)))
    return b.model({"x": ("N", FEATURES)}, [b.gemm(x, (24, CLASSES))])


def save_classifier(folder: Path, *, labels: bool = True) -> tuple[Path, Path]:
    """Model and data; the labels are what the model says."""
    path, data = folder / "model.onnx", folder / "data.npz"
    onnx.save(classifier(), path)
    x = np.random.default_rng(4).standard_normal((SAMPLES, FEATURES)).astype(np.float32)
    (scores,) = open_session(ir.load(path)).run({"x": x})
    np.savez(data, x=x, **({"labels": scores.argmax(axis=1)} if labels else {}))
    return path, data


def save_table(folder: Path, model: Path, options: Options) -> Path:
    """Times of another machine: what is fitted takes a tenth of what it stands for."""
    costs = json.loads(measured_table(model, options).to_json())["costs"]
    made_up = {key: TIMES.get(key.split(" ")[0], 1e-5) for key in costs}
    path = folder / "table.json"
    path.write_text(json.dumps({"fingerprint": "another machine", "costs": made_up}), encoding="utf-8")
    return path
