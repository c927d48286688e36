"""An operator without its framework: type, attributes, constant inputs, shapes.

Readers and activation patterns see graphs only through these two records, so that they need
neither onnx nor torch and can be tested with a few lines of numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Dim = int | str | None
"""A size: known (int), symbolic (str; equal names are equal sizes) or unknown (None)."""
Shape = tuple[Dim, ...]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the graph as its consumers see it.

    Attributes:
        name: unique in its graph.
        shape: sizes per axis; None when even the rank is unknown.
        dtype: ONNX name in lower case ("float", "float16", "bfloat16", "double", "int64" …), "" when unknown.
        constant: the value, when it is one that no caller can override; floats keep their dtype.
        producer: the operator that makes it; None for graph inputs and initializers.
        index: which output of `producer` it is.
    """

    name: str
    shape: Shape | None = None
    dtype: str = "float"
    constant: npt.NDArray[Any] | None = None
    producer: OpView | None = None
    index: int = 0

    @property
    def rank(self) -> int | None:
        """Number of axes, or None."""
        return None if self.shape is None else len(self.shape)


@dataclass(frozen=True, eq=False)
class OpView:
    """One operator.

    Attributes:
        op_type: as in ONNX ("Conv").
        version: opset version of its domain in this model.
        domain: "" for the default domain.
        attributes: plain Python values; tensors as arrays; graphs are left out (`has_subgraph`).
        inputs: one per operand; None for an empty optional input.
        outputs: value names, "" for an omitted output.
        output_shapes: one per output.
        name: the node's name, for people; may be empty or repeated.
        key: the first non-empty output name; identifies the operator in its graph.
    """

    op_type: str
    version: int = 20
    domain: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Tensor | None, ...] = ()
    outputs: tuple[str, ...] = ("y",)
    output_shapes: tuple[Shape | None, ...] = (None,)
    name: str = ""
    has_subgraph: bool = False
    key: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", next((o for o in self.outputs if o), self.name))

    def input(self, index: int) -> Tensor | None:
        """The operand at `index`, or None when it is omitted."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> npt.NDArray[Any] | None:
        """The constant value of the operand at `index`; None when omitted or not constant."""
        operand = self.input(index)
        return None if operand is None else operand.constant

    def constant_float64(self, index: int) -> npt.NDArray[np.float64] | None:
        """`constant` in float64, the precision every fold is computed in."""
        value = self.constant(index)
        return None if value is None else np.asarray(value, dtype=np.float64)

    def has_input(self, index: int) -> bool:
        """Whether the operand at `index` is present."""
        return self.input(index) is not None

    @property
    def label(self) -> str:
        """How reports call it: the node's name, or its type and output."""
        return self.name or f"{self.op_type}→{self.key}"
