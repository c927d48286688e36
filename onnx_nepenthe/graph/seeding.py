"""Give operators that draw random numbers a seed, so that two models that draw them can be compared."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import onnx_ir as ir

from onnx_nepenthe.graph.reference import loaded
from onnx_nepenthe.graph.structure import DEFAULT_DOMAINS

DRAWING = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
TRAINING_MODE = 2
"""Operand of Dropout that makes it draw; without it, it does nothing."""
LARGEST_SEED = 1 << 20
"""Seeds are float32 attributes."""


def seeded(model: ir.Model | str | Path) -> ir.Model | str | Path:
    """`model`, or a copy in which every operator that draws without a seed has one that follows from its name.

    Runtimes seed such operators by where they stand, so moving one changes what it draws.

    Raises:
        UnreadableError: the path holds no ONNX model.
    """
    found = loaded(model)
    if next(_drawing_freely(found), None) is None:
        return model
    copy = found.clone()
    for node in _drawing_freely(copy):
        name = node.name or next((value.name for value in node.outputs if value.name), "")
        seed = zlib.crc32(name.encode()) % LARGEST_SEED
        is_whole = node.op_type == "Dropout"
        node.attributes["seed"] = ir.AttrInt64("seed", seed) if is_whole else ir.AttrFloat32("seed", float(seed))
    return copy


def _drawing_freely(model: ir.Model) -> Iterator[ir.Node]:
    inside = (function.all_nodes() for function in model.functions.values())
    yield from (node for node in chain(model.graph.all_nodes(), *inside) if _draws_freely(node))


def _draws_freely(node: ir.Node) -> bool:
    if node.domain not in DEFAULT_DOMAINS or "seed" in node.attributes:
        return False
    if node.op_type == "Dropout":
        return len(node.inputs) > TRAINING_MODE and node.inputs[TRAINING_MODE] is not None
    return node.op_type in DRAWING
