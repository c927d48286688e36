"""Try to prove a proof wrong: search the inputs for one that takes a unit out of the piece it was proved to be in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from onnx_nepenthe.activations.base import Activation
from onnx_nepenthe.graph.view import view_from_model
from onnx_nepenthe.inspection import prove
from onnx_nepenthe.proving.effort import Effort
from onnx_nepenthe.rectifiers import find_rectifiers
from onnx_nepenthe.session import Session, SessionConfig, open_session

FloatArray = npt.NDArray[np.float64]
Ranges = Mapping[str, tuple[float, float]]
KNOT_SLACK = 2.0**-20
"""As `prove.KNOT_SLACK`: a saturating kernel may pass a knot in the last places."""
TYPES = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.UINT8: np.uint8, onnx.TensorProto.FLOAT16: np.float16}


@dataclass(frozen=True, eq=False)
class Claim:
    """That channel c of `operand` always lies in piece `pieces[c]` of `activation`; -1 claims nothing."""

    operand: str
    activation: Activation
    axis: int
    pieces: npt.NDArray[np.int64]
    how: str = ""


def claims_of(model: onnx.ModelProto, ranges: Ranges, budget_s: float = 60.0) -> list[Claim]:
    """What `inspection.prove` claims of the rectifiers whose channels are known."""
    view = view_from_model(ir.from_proto(model))
    rectifiers, _ = find_rectifiers(view)
    proofs = prove(view, rectifiers, ranges, Effort(budget_s) if budget_s else None)
    return [
        Claim(r.operand, r.activation, r.axis, *proofs[r.key])
        for r in rectifiers
        if r.axis is not None and r.channels is not None
    ]


def proved(claims: list[Claim]) -> int:
    """Units that something is claimed of."""
    return sum(int((claim.pieces >= 0).sum()) for claim in claims)


def falsified(
    model: onnx.ModelProto,
    claims: list[Claim],
    ranges: Ranges,
    rng: np.random.Generator,
    *,
    samples: int = 128,
    rounds: int = 12,
    climbs: int = 4,
) -> list[str]:
    """Units that an input takes out of their piece.

    Random corners of the box first; then for each unit the corner to which it correlates; then, for the units that
    came closest, flips of ever fewer coordinates, keeping what brings them closer.
    """
    victim = _Victim(model, claims, ranges)
    x = victim.corners(rng, samples)
    scores = victim.scores(x)
    centred = scores - scores.mean(axis=0)
    towards = (x - x.mean(axis=0)).T @ np.where(np.isfinite(centred), centred, 0.0)
    aimed = np.where(towards.T > 0, victim.high, victim.low)
    x = np.concatenate([x, aimed])
    scores = np.concatenate([scores, *(victim.scores(aimed[i : i + samples]) for i in range(0, len(aimed), samples))])
    best, found = scores.max(axis=0), x[scores.argmax(axis=0)]
    for unit in np.argsort(-best)[:climbs]:
        climbed = _climb(victim, found[unit], int(unit), rng, rounds)
        best = np.maximum(best, climbed)
    return [victim.names[unit] for unit in np.flatnonzero(best > 0)]


def _climb(victim: _Victim, start: FloatArray, unit: int, rng: np.random.Generator, rounds: int) -> FloatArray:
    best = victim.scores(start[None])[0]
    for turn in range(rounds):
        share = max(1 / start.size, 0.5 ** (turn % 8 + 1))
        flips = rng.random((64, start.size)) < share
        tried = np.where(flips, victim.corners(rng, 64), start)
        scores = victim.scores(tried)
        if scores[:, unit].max() > victim.scores(start[None])[0, unit]:
            start = tried[scores[:, unit].argmax()]
        best = np.maximum(best, scores.max(axis=0))
    return best


class _Victim:
    """A model whose claimed operands can be looked at; inputs are rows of one flat array."""

    def __init__(self, model: onnx.ModelProto, claims: list[Claim], ranges: Ranges) -> None:
        watched = onnx.shape_inference.infer_shapes(model)
        known = {info.name: info for info in (*watched.graph.value_info, *watched.graph.output)}
        self.claims = [claim for claim in claims if (claim.pieces >= 0).any()]
        names = list(dict.fromkeys(claim.operand for claim in self.claims))
        del watched.graph.output[:]
        watched.graph.output.extend(known[name] for name in names)
        self.session: Session | None = None
        if names:
            self.session = open_session(ir.from_proto(watched), SessionConfig(threads=1, optimise=False))
        self.operands = names
        weights = {tensor.name for tensor in model.graph.initializer}
        self.inputs = [info for info in model.graph.input if info.name not in weights]
        self.shapes = [[d.dim_value for d in i.type.tensor_type.shape.dim][1:] for i in self.inputs]
        self.types = [TYPES[i.type.tensor_type.elem_type] for i in self.inputs]
        ends = [ranges.get(info.name, (0.0, 255.0)) for info in self.inputs]
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        # The ends that the input's type can hold, inside the range.
        self.low = np.repeat([_inside(end[0], t, np.inf) for end, t in zip(ends, self.types, strict=True)], sizes)
        self.high = np.repeat([_inside(end[1], t, -np.inf) for end, t in zip(ends, self.types, strict=True)], sizes)
        self.splits = np.cumsum(sizes)[:-1]
        self.names = [
            f"{claim.operand}[{channel}]" for claim in self.claims for channel in np.flatnonzero(claim.pieces >= 0)
        ]

    def corners(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Corners of the box, some of them with inner points and some with whole runs at one end."""
        high = rng.random((count, self.low.size)) < rng.random((count, 1))
        runs = np.repeat(rng.random((count, -(-self.low.size // 8))) < 0.5, 8, axis=1)[:, : self.low.size]
        high = np.where(rng.random((count, 1)) < 0.3, runs, high)
        inner = self.low + rng.random(high.shape) * (self.high - self.low)
        corners = np.where(high, self.high, self.low)
        return np.where(rng.random(high.shape) < rng.choice([0.0, 0.0, 0.3], (count, 1)), inner, corners)

    def scores(self, x: FloatArray) -> FloatArray:
        """How far each claimed unit is outside its piece (rows, units); at most 0 inside."""
        if self.session is None:
            return np.zeros((len(x), 0))
        parts = np.split(x, self.splits, axis=1)
        feeds = {
            info.name: np.clip(part, low, high).astype(kind).reshape(len(x), *shape)
            for info, part, shape, kind, low, high in zip(
                self.inputs,
                parts,
                self.shapes,
                self.types,
                np.split(self.low, self.splits),
                np.split(self.high, self.splits),
                strict=True,
            )
        }
        values = dict(zip(self.operands, self.session.run(feeds), strict=True))
        return np.concatenate([_outside(claim, values[claim.operand]) for claim in self.claims], axis=1)


def _inside(end: float, kind: type[np.generic], towards: float) -> float:
    if kind is np.uint8:
        return float(np.clip(np.ceil(end) if towards > 0 else np.floor(end), 0, 255))
    rounded = kind(end)
    outside = rounded < end if towards > 0 else rounded > end
    return float(np.nextafter(rounded, kind(towards)) if outside else rounded)


def _outside(claim: Claim, z: npt.NDArray[np.generic]) -> FloatArray:
    rows = np.moveaxis(z.astype(np.float64), claim.axis, 1).reshape(z.shape[0], z.shape[claim.axis], -1)
    scores = []
    for channel in np.flatnonzero(claim.pieces >= 0):
        piece, values = claim.pieces[channel], rows[:, channel]
        below = _knot(claim, int(piece) - 1, channel, -np.inf)
        above = _knot(claim, int(piece), channel, np.inf)
        excess = np.maximum(below - KNOT_SLACK * _size(below) - values, values - above - KNOT_SLACK * _size(above))
        scores.append(np.where(np.isnan(excess), np.inf, excess).max(axis=1))
    return np.stack(scores, axis=1)


def _knot(claim: Claim, index: int, channel: int, missing: float) -> float:
    if not 0 <= index < len(claim.activation.knots):
        return missing
    knot = np.asarray(claim.activation.knots[index])
    return float(knot if knot.ndim == 0 else knot[channel])


def _size(end: float) -> float:
    return abs(end) if np.isfinite(end) else 0.0
