"""Cut: a new model without the channels, their constants folded into the layers that read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.affine.maps import Conv, Dense, FloatArray
from onnx_nepenthe.cutting.elementwise import BROADCAST
from onnx_nepenthe.cutting.passing import new_target
from onnx_nepenthe.cutting.records import Cut, Fold, Ints, Removed
from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.inplace import forget_shape, set_attribute, set_operand
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.ops import READERS
from onnx_nepenthe.ops.base import Chain
from onnx_nepenthe.opview import OpView, Tensor
from onnx_nepenthe.registry import Registry

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Work:
    view: GraphView
    editor: Editor
    gone: Mapping[str, Removed]
    folds: Mapping[str, tuple[Fold, ...]]

    def positions(self, name: str) -> Ints:
        """Entries of a value that go."""
        return self.gone[name].positions if name in self.gone else ()

    def store(self, op: OpView, index: int, array: npt.ArrayLike, dtype: str) -> None:
        """Give an operator its own constant: others may share the one it had."""
        old = op.input(index)
        hint = f"{op.key}_bias" if old is None else old.name
        result = self.editor.value(op.key)
        set_operand(result, index, self.editor.constant(f"{hint}_cut", array, dtype))


Edit = Callable[[OpView, _Work], None]
_EDITS: Registry[Edit] = Registry("channel edit")
"""Operator type → how it loses channels. Types without an entry follow by themselves."""


def apply_cuts(model: Any, view: GraphView, cuts: Sequence[Cut]) -> Any:
    """A new model without the channels of `cuts`; names stay, and any subset of what was found may be given.

    Args:
        model: an onnx_ir model; not changed.
        view: how it reads; the cuts were found in it.
        cuts: what to take out.
    """
    work = _Work(view, Editor(model), _united(cuts), _by_layer(cuts))
    for op in view.ops:
        edit = _EDITS.get(op.op_type)
        names = [operand.name for operand in op.inputs if operand is not None]
        if edit is not None and any(name in work.gone for name in (*names, *op.outputs)):
            edit(op, work)
    for op in view.ops:
        if op.outputs[0] in work.gone:
            for name in filter(None, op.outputs):
                forget_shape(work.editor.value(name))
    return work.editor.finish()


def _united(cuts: Sequence[Cut]) -> dict[str, Removed]:
    gone: dict[str, Removed] = {}
    for entry in (entry for cut in cuts for entry in cut.removed):
        before = gone[entry.value].positions if entry.value in gone else ()
        gone[entry.value] = Removed(entry.value, entry.axis, tuple(sorted({*before, *entry.positions})))
    return gone


def _by_layer(cuts: Sequence[Cut]) -> dict[str, tuple[Fold, ...]]:
    folds: dict[str, tuple[Fold, ...]] = {}
    for fold in (fold for cut in cuts for fold in cut.folds):
        folds[fold.key] = (*folds.get(fold.key, ()), fold)
    return folds


@_EDITS.register("Conv")
def _conv(op: OpView, work: _Work) -> None:
    m = _map(op)
    assert isinstance(m, Conv)
    out, into = work.positions(op.outputs[0]), _into(op, 0, work)
    weight, added = _constant(op, 1), np.zeros(len(m.bias))
    if m.groups == 1:
        weight, added = _folded(weight, work.folds.get(op.key, ()), into)
    elif into:
        set_attribute(work.editor.value(op.key), "group", m.groups - len(into))
    work.store(op, 1, np.delete(weight, out, 0), _dtype(op, 1))
    if added.any():
        work.store(op, 2, np.delete(m.bias + added, out), _dtype(op, 1))
    elif out and op.has_input(2):
        work.store(op, 2, np.delete(_constant(op, 2), out), _dtype(op, 2))


@_EDITS.register("ConvTranspose")
def _conv_transpose(op: OpView, work: _Work) -> None:
    out, into = work.positions(op.outputs[0]), _into(op, 0, work)
    weight, _ = _folded(_constant(op, 1).swapaxes(0, 1), work.folds.get(op.key, ()), into)
    work.store(op, 1, np.delete(weight, out, 0).swapaxes(0, 1).copy(), _dtype(op, 1))
    if out and op.has_input(2):
        work.store(op, 2, np.delete(_constant(op, 2), out), _dtype(op, 2))


@_EDITS.register("Gemm")
def _gemm(op: OpView, work: _Work) -> None:
    m = _map(op)
    assert isinstance(m, Dense)
    out, transposed = work.positions(op.outputs[0]), not op.attributes.get("transB", 0)
    stored = _constant(op, 1).T if transposed else _constant(op, 1)
    weight, added = _folded(stored, work.folds.get(op.key, ()), _into(op, 0, work))
    weight = np.delete(weight, out, 0)
    work.store(op, 1, weight.T if transposed else weight, _dtype(op, 1))
    if added.any():
        alpha = float(op.attributes.get("alpha", 1.0))
        work.store(op, 2, np.delete(m.bias + alpha * added, out), _dtype(op, 1))
        set_attribute(work.editor.value(op.key), "beta", 1.0)
    elif out and op.has_input(2) and _constant(op, 2).shape[-1:] == (len(m.bias),):
        work.store(op, 2, np.delete(_constant(op, 2), out, -1), _dtype(op, 2))


@_EDITS.register("MatMul")
def _matmul(op: OpView, work: _Work) -> None:
    at = 0 if op.constant(0) is not None else 1
    stored = _constant(op, at) if at == 0 else _constant(op, at).T
    weight, _ = _folded(stored, work.folds.get(op.key, ()), _into(op, 1 - at, work))
    weight = np.delete(weight, work.positions(op.outputs[0]), 0)
    work.store(op, at, weight if at == 0 else weight.T, _dtype(op, at))


@_EDITS.register("BatchNormalization")
def _batch_normalization(op: OpView, work: _Work) -> None:
    for index in range(1, 5):
        work.store(op, index, np.delete(_constant(op, index), work.positions(op.outputs[0])), _dtype(op, index))


@_EDITS.register(*BROADCAST)
def _broadcast(op: OpView, work: _Work) -> None:
    entry = work.gone[op.outputs[0]]
    shape = op.output_shapes[0] or ()
    back = len(shape) - entry.axis
    for index, operand in enumerate(op.inputs):
        constant = None if operand is None else operand.constant
        if constant is not None and constant.ndim >= back and constant.shape[-back] != 1:
            work.store(op, index, np.delete(constant, entry.positions, -back), _dtype(op, index))


@_EDITS.register("Reshape")
def _reshape(op: OpView, work: _Work) -> None:
    operand, entry = _operand(op, 0), work.gone[op.outputs[0]]
    size = (op.output_shapes[0] or ())[entry.axis]
    assert isinstance(size, int)
    target = new_target(op, work.gone[operand.name].axis, entry.axis, size - len(entry.positions))
    work.store(op, 1, np.array(target), "int64")


def _folded(weight: Array, folds: Sequence[Fold], into: Ints) -> tuple[Array, FloatArray]:
    """Weights (out, in, …) without the entries `into`, and what the bias has to take, float64 (out,)."""
    added = np.zeros(len(weight))
    exact = np.asarray(weight, np.float64)
    merged = exact.copy() if any(fold.carrier is not None for fold in folds) else weight
    for fold in folds:
        read = np.einsum("oi...,i->o...", exact[:, list(fold.positions)], np.array(fold.constants))
        if fold.carrier is None:
            added += read.reshape(len(weight), -1).sum(axis=1)
        else:
            merged[:, fold.carrier] += read / fold.carried
    return np.delete(merged, into, 1), added


def _map(op: OpView) -> object:
    reading = READERS[op.op_type](op)
    assert isinstance(reading, Chain)
    return reading.steps[0]


def _operand(op: OpView, index: int) -> Tensor:
    operand = op.input(index)
    assert operand is not None
    return operand


def _into(op: OpView, index: int, work: _Work) -> Ints:
    return work.positions(_operand(op, index).name)


def _constant(op: OpView, index: int) -> Array:
    constant = op.constant(index)
    assert constant is not None
    return constant


def _dtype(op: OpView, index: int) -> str:
    return _operand(op, index).dtype
