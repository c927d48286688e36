"""The second product of a pair on the channels that stay, and on the entry where it may read that too."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from onnx_nepenthe.affine.maps import Dense, FloatArray
from onnx_nepenthe.fit import Array, Fitting
from onnx_nepenthe.normal import Normal

ROWS = 8192
"""Rows that are used of one batch."""
RIDGE = 1e-9
"""Relative to the mean of the diagonal; keeps constant channels from making a system singular."""


@dataclass
class JointFitter:
    """Ridge regression of the target on [hidden, entry], hidden channels chosen by what the entry cannot say of them.

    Attributes:
        second: (outputs, width), what reads the hidden channels now.
        keep: hidden channels that stay.
        entries: channels of the entry that the fit may read; 0 for none.
        axis: of the channels.
        rng: picks rows.
    """

    second: FloatArray
    keep: int
    entries: int
    axis: int
    rng: np.random.Generator
    _normal: Normal = field(init=False)
    _shifts: tuple[Array, Array] | None = None

    def __post_init__(self) -> None:
        self._normal = Normal(self.width + self.entries, len(self.second))

    @property
    def width(self) -> int:
        """Hidden channels."""
        return int(self.second.shape[1])

    def add(self, x: Array, y: Array) -> None:
        """Take one batch: x (…, width + entries, …) joined on `axis`, y (…, outputs, …)."""
        rows = [np.moveaxis(values, self.axis, -1) for values in (x, y)]
        samples = np.repeat(np.arange(len(x)), int(np.prod(rows[0].shape[1:-1])))
        x, y = (values.reshape(-1, values.shape[-1]) for values in rows)
        if self._shifts is None:
            # Channels that are always ON may lie far from 0, where float32 products would lose what differs.
            self._shifts = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
        chosen = self.rng.permutation(len(x))[:ROWS]
        near = [(values[chosen] - s).astype(np.float32) for values, s in zip((x, y), self._shifts, strict=True)]
        self._normal.add(near[0], near[1], samples[chosen])

    def solve(self) -> Fitting:
        """The matrix (outputs, keep + entries) and which hidden channels it reads."""
        scores = self.unsaid() * np.square(self.second).sum(axis=0)
        kept = np.sort(np.argsort(-scores, kind="stable")[: self.keep])
        rest = np.arange(self.width, self.width + self.entries + 1)
        weights, bias, residual = self._normal.on(np.concatenate([kept, rest])).solve()
        if self._shifts is not None:
            bias = bias + self._shifts[1] - self._shifts[0][np.concatenate([kept, rest[:-1]])] @ weights
        return Fitting(Dense(self.axis, weights.T.copy(), bias), residual, tuple(kept.tolist()))

    def unsaid(self) -> FloatArray:
        """(width,), variance of each hidden channel that is left when the entry is known."""
        sums = self._normal.halves[0] + self._normal.halves[1]
        hidden, known = slice(None, self.width), slice(self.width, None)
        gram = sums.gram[known, known]
        ridge = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        cross = sums.gram[known, hidden]
        explained = (cross * np.linalg.solve(gram + ridge, cross)).sum(axis=0)
        left = (np.diag(sums.gram)[hidden] - explained) / max(1, sums.rows)
        return np.asarray(left.clip(0.0), np.float64)
