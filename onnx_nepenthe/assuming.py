"""Models with what was only observed taken for granted.

A measurement without its data says which rectifiers are lines on them. Random input is no such data, so that it can
tell nothing about the decisions; but it can tell whether everything else was done right, once the decisions are part of
both models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from onnx_nepenthe.cutting import Cut
from onnx_nepenthe.evidence import Observed
from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.view import GraphView, view_from_model
from onnx_nepenthe.inspection import Findings
from onnx_nepenthe.linearise import Decision
from onnx_nepenthe.narrowing import without
from onnx_nepenthe.rectifiers import Rectifier, find_rectifiers
from onnx_nepenthe.regimes import FloatArray

Constants = Mapping[int, float]
"""Channel → what it always is."""


def assumed(findings: Findings, cuts: Sequence[Cut]) -> Model:
    """The input with its observed rectifiers as lines, and with the constants that observed channels were cut for."""
    editor = Editor(findings.model)
    for decision in findings.linearised.decisions.values():
        if decision.observed:
            _draw(editor, findings.view, decision.rectifier, decision)
    for undecided in findings.linearised.undecided.values():
        rectifier = undecided.rectifier
        pieces, channels = undecided.pieces, len(undecided.pieces)
        gone = _observed_positions(cuts, rectifier.key)
        constants = {at: float(rectifier.activation.line(int(pieces[at]), channels)[1][at]) for at in gone}
        if constants:
            _fix(editor, findings.view, rectifier, constants)
    return editor.finish()


def assumed_result(findings: Findings, cuts: Sequence[Cut], new: Model) -> Model:
    """The result with those observed rectifiers as lines that are still in it."""
    decisions = without(findings, cuts).linearised.decisions.values()
    observed = {(d.rectifier.op, d.rectifier.label): d for d in decisions if d.observed}
    editor, view = Editor(new), view_from_model(new)
    for rectifier in find_rectifiers(view)[0]:
        decision = observed.get((rectifier.op, rectifier.label))
        if decision is not None:
            _draw(editor, view, rectifier, decision)
    return editor.finish()


def _observed_positions(cuts: Sequence[Cut], value: str) -> set[int]:
    """Channels of `value` that were cut on the evidence of data."""
    observed = (cut for cut in cuts if isinstance(cut.evidence, Observed))
    entries = (entry for cut in observed for entry in cut.removed if entry.value == value)
    return {position for entry in entries for position in entry.positions}


def _draw(editor: Editor, view: GraphView, rectifier: Rectifier, decision: Decision) -> None:
    """y = slope z + intercept instead of the rectifier."""
    operand = view.tensors[rectifier.operand]
    dtype, z = operand.dtype or "float", editor.value(rectifier.operand)
    if (decision.slope == 1).all() and (decision.intercept == 0).all():
        editor.replace(rectifier.output, editor.node("Identity", [z], hint=rectifier.output))
        return
    numbers = [_along(numbers, decision.axis, operand.rank) for numbers in (decision.slope, decision.intercept)]
    slope, intercept = (editor.constant("line", number, dtype) for number in numbers)
    line = editor.node("Mul", [z, slope], hint=rectifier.output)
    editor.replace(rectifier.output, editor.node("Add", [line, intercept], hint=rectifier.output))


def _fix(editor: Editor, view: GraphView, rectifier: Rectifier, constants: Constants) -> None:
    """Some channels of y are what they always are."""
    operand = view.tensors[rectifier.operand]
    is_left, fixed = np.ones(rectifier.channels or 1), np.zeros(rectifier.channels or 1)
    for channel, constant in constants.items():
        is_left[channel], fixed[channel] = 0.0, constant
    dtype, y = operand.dtype or "float", editor.value(rectifier.output)
    mask, offset = (
        editor.constant("fixed", _along(numbers, rectifier.axis, operand.rank), dtype) for numbers in (is_left, fixed)
    )
    left = editor.node("Mul", [y, mask], hint=rectifier.output)
    editor.replace(rectifier.output, editor.node("Add", [left, offset], hint=rectifier.output))
    maker = left.producer()
    assert maker is not None
    maker.replace_input_with(0, y)


def _along(numbers: FloatArray, axis: int | None, rank: int | None) -> FloatArray:
    if numbers.size == 1 or axis is None or rank is None:
        return numbers.reshape(-1)[:1].reshape(())
    return numbers.reshape([-1 if at == axis else 1 for at in range(rank)])
