"""A made-up run whose numbers are all known, and small models for commands to work on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.errors import Refused
from onnx_nepenthe.evidence import Observed, Proved
from onnx_nepenthe.graph.stats import ModelSize
from onnx_nepenthe.latency import Comparison
from onnx_nepenthe.linearise import Decision, Undecided
from onnx_nepenthe.outcome import Bought, Inspection, Outcome, Price, RectifierRow, Refusal, Side
from onnx_nepenthe.rectifiers import Rectifier
from onnx_nepenthe.regimes import RegimeCounts
from onnx_nepenthe.rewrite import Rewrite
from onnx_nepenthe.sketch import Drawn, Sketch
from onnx_nepenthe.verify import OutputRow, Verdict
from tests.helpers.build import Builder

RELU = Activation((0.0,), ((0.0, 0.0), (1.0, 0.0)))
GELU = Activation((-5.0, 5.0), ((0.0, 0.0), None, (1.0, 0.0)), frozenset({0, 2}))
HOSTILE = "<script>alert('x')</script>&\x1b[31m\n[bold]"
"""A label that would run in a page, colour a terminal, break a line and be taken for markup."""


def rectifier(label: str, op: str, activation: Activation, channels: int) -> Rectifier:
    return Rectifier(label, label, op, f"{label}_z", label, activation, 1, channels, 17)


def counts(inside: list[list[int]], ties: int = 0) -> RegimeCounts:
    """`inside` as (regimes, channels)."""
    table = np.array(inside, np.int64)
    channels = table.shape[1]
    return RegimeCounts(
        table, np.full((len(table) - 1, channels), ties), np.full(channels, -1.0), np.full(channels, 2.0)
    )


def rows(count: int = 1) -> tuple[RectifierRow, ...]:
    """A mixed ON and OFF one that is removed, one by proof that stays, a ReLU and a GELU that are no lines."""
    on_off = rectifier("layer1/relu", "Relu", RELU, 4)
    proved = rectifier("layer2/relu", "Relu", RELU, 2)
    busy = rectifier(HOSTILE, "Relu", RELU, 2)
    curved = rectifier("encoder/blocks.11/mlp/activation/Gelu_output", "Gelu(erf)", GELU, 2)
    pieces = np.array([1, 1, 1, 0])
    made = (
        RectifierRow(
            on_off,
            counts([[0, 0, 0, 300], [300, 300, 300, 0]]),
            Decision(on_off, pieces, pieces.astype(float), np.zeros(4), Observed(300), 0, 4),
            removed=True,
        ),
        RectifierRow(
            proved,
            counts([[0, 0], [300, 300]]),
            Decision(proved, np.ones(2, np.int64), np.ones(1), np.zeros(1), Proved("z in [0, inf)"), 2, 0),
        ),
        RectifierRow(
            busy,
            counts([[75, 150], [225, 150]]),
            Undecided(busy, Refused("2 of 2 channels change regime (entropy 0.906 bits)", "prune"), np.full(2, -1)),
        ),
        RectifierRow(
            curved,
            counts([[0, 1], [300, 298], [0, 1]]),
            Undecided(curved, Refused("1 of 2 channels change regime (entropy 0.067 bits)", "prune"), np.full(2, -1)),
        ),
    )
    return made * count


def inspection(count: int = 1) -> Inspection:
    return Inspection(
        name="models/made-up.onnx",
        rows=rows(count),
        refusals=(Refusal("odd/Clip", "rectifier", "its bounds are not constant", "fold constants first"),),
        side=Side(ModelSize(20, 12_345, 49_380, 6, 1_000_000, 0), 5 * count),
        samples=30,
        notes=("layer9: 2 samples of incomplete batches not counted",),
        environment={"onnxruntime": "1.31.1", "provider": "cpu", "threads": 0, "cpu": "a <fast> one"},
    )


def comparison(speedup: float = 1.5) -> Comparison:
    wave = 1.0 + 0.02 * np.sin(np.arange(120.0))
    each = np.round(np.stack([1.5 * wave, 1.5 / speedup * wave[::-1], 1.5 * np.roll(wave, 7)], axis=1), 6)
    low, high = speedup - 0.02, speedup + 0.02
    each_ms = tuple((a, b, c) for a, b, c in each.tolist())
    return Comparison(1.5, 1.5 / speedup, speedup, low, high, 0.995, 1.004, 120, "cpu", 0, each_ms)


def verdict(*, passed: bool = True) -> Verdict:
    row = OutputRow(
        "logits", "optimiser on", 1.5e-6, 2e-7, 1e-6, 1.5, 3e-4, 0, "" if passed else "error 1 is over", None
    )
    return Verdict(
        passed,
        max_abs_error=1.5e-6,
        mean_abs_error=2e-7,
        max_rel_error=float("nan"),
        tolerance=3e-4,
        samples=60,
        agreement=1.0,
        top1_before=0.975,
        top1_after=0.975,
        outputs=(row,),
        disjoint=True,
        source="calibration.npz",
        engine="onnxruntime (cpu)",
        reason="" if passed else "output logits: error 1 is over",
    )


def outcome(count: int = 1, *, collapsed: bool = True) -> Outcome:
    """A run that fused three operators into one; or one that found nothing to do."""
    found = inspection(count)
    before = Sketch(
        (
            Drawn("layer1/conv", "Conv", ("layer1_x",), "layer1_z", ("N", 4, 14, 14), (4, 8, 1, 1)),
            Drawn("layer1/relu", "Relu", ("layer1_z",), "layer1_y", ("N", 4, 14, 14)),
            Drawn("layer2/conv", "Conv", ("layer1_y",), "layer2_y", ("N", 16, 14, 14), (16, 4, 3, 3)),
        ),
        ("N", 8, 14, 14),
    )
    labels = tuple(drawn.label for drawn in before.operators)
    rewrite = Rewrite("layer2_y", "layer1_x", labels, "layer2_y", "Conv 3x3 8→16", before)
    slower = Refusal(
        "layer3/conv + layer4/conv", "latency", "slower on this provider (0.70x)", "--latency off takes it"
    )
    return Outcome(
        inspection=found,
        model=object() if collapsed else None,
        after=Side(ModelSize(17, 10_000, 40_000, 5, 800_000, 0), 4) if collapsed else found.side,
        rewrites=(rewrite,) if collapsed else (),
        speedups={"layer2_y": 1.75},
        refusals=(slower,),
        latency=comparison() if collapsed else None,
        verdict=verdict() if collapsed else None,
        options={"latency": "measured"},
        message="made-up.collapsed.onnx written" if collapsed else "nothing could be collapsed",
    )


def price() -> Price:
    """One fitted block."""
    bought = Bought("relu1_y", HOSTILE, "conv3", 2, 0.06, 0.4, 0.25, ("layer2/conv", "layer2/relu"))
    return Price("top1", 97.5, 96.9, 0.6, -0.1, 1.3, 360, 1.0, 0.5, 12, (bought,))


def positive_model() -> onnx.ModelProto:
    """Gemm, a Relu that is ON for inputs in [-1, 1] and OFF in one channel, Gemm; classes out."""
    b = Builder(np.random.default_rng(0))
    bias = np.array([9, 9, 9, 9, 9, -9], np.float32)
    hidden = b.node("Gemm", "x", b.constant(b.random(4, 6)), b.constant(bias))
    b.gemm(b.node("Relu", hidden), (6, 3))
    return b.model({"x": ("N", 4)}, [b.nodes[-1].output[0]])


def mixed_model() -> onnx.ModelProto:
    """Gemm and a Relu that is both ON and OFF; nothing can go."""
    b = Builder(np.random.default_rng(1))
    out = b.node("Relu", b.node("Gemm", "x", b.constant(b.random(4, 6))))
    return b.model({"x": ("N", 4)}, [out])


def save_case(folder: Path, model: onnx.ModelProto | None = None) -> tuple[Path, Path]:
    """A model file and data for it, 50 labelled samples."""
    path, data = folder / "model.onnx", folder / "data.npz"
    onnx.save(model or positive_model(), path)
    rng = np.random.default_rng(2)
    np.savez(data, x=rng.uniform(-1, 1, (50, 4)).astype(np.float32), labels=rng.integers(0, 3, 50))
    return path, data
