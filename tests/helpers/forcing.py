"""Networks some of whose rectifiers are made lines on their data: biases move every channel into one piece."""

from __future__ import annotations

import random
from math import inf

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from tests.helpers.build import Array, Builder
from tests.helpers.compare import run_runtime
from tests.helpers.random_graphs import Draw

Piece = tuple[float, float]
PIECES: dict[str, tuple[Piece, ...]] = {
    "Relu": ((-inf, 0.0), (0.0, inf)),
    "LeakyRelu": ((-inf, 0.0), (0.0, inf)),
    "PRelu": ((-inf, 0.0), (0.0, inf)),
    "Clip": ((-inf, 0.0), (0.0, 6.0), (6.0, inf)),
    "HardSwish": ((-inf, -3.0), (3.0, inf)),
    "HardSigmoid": ((-inf, -3.0), (-3.0, 3.0), (3.0, inf)),
    "Gelu": ((-inf, -12.0), (12.0, inf)),
    "Silu": ((-inf, -24.0), (24.0, inf)),
}
"""By kind: where it is a line; of the last two only in the limit."""
MARGIN = 0.05
BIAS_AT = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "BatchNormalization": 2, "LayerNormalization": 2}


class Network(Builder):
    """A model under construction, and data for it.

    Attributes:
        data: by input, samples on axis 0.
        dims: by input, as the model states them.
        share: of the rectifiers, how many are forced.
        kinds: by result of a rectifier, which one it is.
        operands: by result of a rectifier, its pre-activation and the axis of its channels.
        forced: by result of a forced rectifier, how: "off", "on" or "mixed".
    """

    def __init__(self, source: random.Random, share: float, opset: int = 17) -> None:
        super().__init__(np.random.default_rng(source.getrandbits(32)), opset=opset)
        self.draw, self.source, self.share = Draw(source), source, share
        self.data: dict[str, Array] = {}
        self.dims: dict[str, list[int | str]] = {}
        self.kinds: dict[str, str] = {}
        self.operands: dict[str, tuple[str, int]] = {}
        self.forced: dict[str, str] = {}
        self._biases: dict[str, str] = {}

    def input(self, name: str, samples: int, sizes: list[int], *, symbolic: bool = False) -> str:
        """An input of normal numbers; a symbolic batch, and symbolic sizes if asked for."""
        self.data[name] = self.rng.standard_normal((samples, *sizes)).astype(np.float32)
        spatial = [f"S{axis}" if symbolic and axis else size for axis, size in enumerate(sizes)]
        self.dims[name] = ["N", *spatial]
        return name

    def node(self, op_type: str, *inputs: str, out: str = "", **attributes: object) -> str:
        value = super().node(op_type, *inputs, out=out, **attributes)
        at = BIAS_AT.get(op_type, len(inputs))
        biases = [inputs[at]] if at < len(inputs) else []
        if op_type == "Add":
            biases = [self._biases.get(name, name) for name in inputs if self._is_bias(self._biases.get(name, name))]
        if biases:
            self._biases[value] = biases[0]
        return value

    def rectifier(self, x: str, kind: str = "Relu", axis: int = 1) -> str:
        """The rectifier; before it, its bias may be changed."""
        is_forced = x in self._biases and self.source.random() < self.share
        how = self._force(x, kind, axis) if is_forced else ""
        y = self._emit(x, kind)
        self.kinds[y], self.operands[y] = kind, (x, axis)
        if how:
            self.forced[y] = how
        return y

    def finish(self, outputs: list[str]) -> onnx.ModelProto:
        """The model; a rectifier whose bias a later one moved no longer counts as forced."""
        values = self.values([self.operands[y][0] for y in self.forced])
        for y, z in zip(list(self.forced), values, strict=True):
            low, high = _ends(z, self.operands[y][1])
            inside = [(low > a) & (high < b) for a, b in PIECES[self.kinds[y]]]
            if not np.any(inside, axis=0).all():
                del self.forced[y]
        return self.model(self.dims, outputs)

    def line(self, x: str, channels: int, rank: int = 2) -> str:
        """A shift per channel, now and then after a scale, as a rectifier that was pruned leaves them behind."""
        sizes = (channels, *(1,) * rank)
        y = self.node("Mul", x, self.constant(self.positive(*sizes))) if self.draw.chance(3) else x
        return self.node("Add", y, self.constant(self.random(*sizes)))

    def keep_centre(self, weight: str) -> None:
        """Set all taps of a kernel to zero but the one in the middle."""
        index = next(i for i, tensor in enumerate(self.initializers) if tensor.name == weight)
        array = numpy_helper.to_array(self.initializers[index])
        middle = (..., *(size // 2 for size in array.shape[2:]))
        centre = np.zeros_like(array)
        centre[middle] = array[middle]
        self.initializers[index] = numpy_helper.from_array(centre, weight)

    def values(self, names: list[str]) -> list[Array]:
        """On the data."""
        return run_runtime(self.model(self.dims, list(dict.fromkeys(names))), self.data) if names else []

    def sizes(self, name: str) -> tuple[int, ...]:
        """Of a value, on the data."""
        shape: tuple[int, ...] = self.values([name])[0].shape
        return shape

    def _emit(self, x: str, kind: str) -> str:
        match kind:
            case "Clip":
                return self.node("Clip", x, self.constant(0.0), self.constant(6.0))
            case "LeakyRelu":
                return self.node(kind, x, alpha=0.1)
            case "HardSigmoid":
                return self.node(kind, x, alpha=1 / 6, beta=0.5)
            case "Silu":
                return self.node("Mul", x, self.node("Sigmoid", x))
            case "Gelu":
                half = self.node("Mul", x, self.constant(0.5))
                error = self.node("Erf", self.node("Div", x, self.constant(float(np.sqrt(2)))))
                return self.node("Mul", half, self.node("Add", error, self.constant(1.0)))
            case "PRelu":
                sizes = self.sizes(x)
                slopes = self.rng.uniform(0.1, 0.4, (sizes[1], *(1,) * (len(sizes) - 2)))
                return self.node(kind, x, self.constant(slopes.astype(np.float32)))
        return self.node(kind, x)

    def _force(self, x: str, kind: str, axis: int) -> str:
        [z] = self.values([x])
        low, high = _ends(z, axis)
        how = self.draw.choice(("on", "mixed", "mixed", "off"))
        ends = np.array([self._piece(kind, how, width) for width in high - low])
        if np.isnan(ends).any():
            return ""
        # To the finite end of the piece, or the middle of it if both ends are.
        below, above = ends[:, 0] + MARGIN - low, ends[:, 1] - MARGIN - high
        shift = np.where(np.isinf(below), above, np.where(np.isinf(above), below, (below + above) / 2))
        index = next(i for i, tensor in enumerate(self.initializers) if tensor.name == self._biases[x])
        bias = numpy_helper.to_array(self.initializers[index])
        if bias.shape != shift.shape:
            return ""
        moved = (bias + shift).astype(bias.dtype)
        self.initializers[index] = numpy_helper.from_array(moved, self._biases[x])
        return how

    def _piece(self, kind: str, how: str, width: float) -> Piece:
        """Not a number where no piece is wide enough."""
        wide = [piece for piece in PIECES[kind] if piece[1] - piece[0] > width + 3 * MARGIN]
        flat = wide[:1]
        steep = [piece for piece in wide[1:] if kind != "Clip" or piece[1] < inf]
        options = {"on": steep, "off": flat, "mixed": wide}[how]
        return self.draw.choice(options) if options else (np.nan, np.nan)

    def _is_bias(self, name: str) -> bool:
        return any(tensor.name == name and len(tensor.dims) == 1 for tensor in self.initializers)


def _ends(z: Array, axis: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Least and largest value per channel."""
    rows = np.moveaxis(z.astype(np.float64), axis, 0).reshape(z.shape[axis], -1)
    return rows.min(axis=1), rows.max(axis=1)
