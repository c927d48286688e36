"""Make the new model: every choice becomes operators, and what nothing needs any more goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnx_nepenthe.affine.describe import describe
from onnx_nepenthe.emit import Target, emit
from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import OpView
from onnx_nepenthe.plan import Region


@dataclass(frozen=True)
class Rewrite:
    """One journal entry.

    Attributes:
        value: what is computed anew.
        source: from which value.
        replaced: labels of the operators it replaces.
        region: the region it belongs to.
        made: what replaces them, in a few words ("Conv 3x3 16→32").
    """

    value: str
    source: str
    replaced: tuple[str, ...]
    region: str
    made: str = ""


def rewrite(model: Any, view: GraphView, regions: Sequence[Region]) -> Any:
    """A new model with the choices of `regions`; `model` (an onnx_ir model) is not changed."""
    editor = Editor(model)
    for region in regions:
        for choice in region.choices:
            dtype = view.tensors[choice.value].dtype
            source = editor.value(choice.source)
            if view.tensors[choice.source].dtype != dtype:
                source = editor.cast(source, dtype, hint=choice.value)
            new = emit(choice.form, source, Target(editor, dtype, choice.value))
            editor.replace(choice.value, new)
    _store_constants(editor, view)
    return editor.finish()


def _store_constants(editor: Editor, view: GraphView) -> None:
    """Let computed constants be weights where an operator that stays, a subgraph or the caller needs them."""
    for name in sorted(view.computed):
        users = [view.ops[at] for at in view.consumers.get(name, ())]
        tensor = view.tensors[name]
        if tensor.constant is not None and (view.is_pinned(name) or any(not _is_computed(op, view) for op in users)):
            editor.replace(name, editor.constant(name, tensor.constant, tensor.dtype))


def _is_computed(op: OpView, view: GraphView) -> bool:
    return all(name in view.computed for name in op.outputs if name)


def journal(regions: Sequence[Region]) -> tuple[Rewrite, ...]:
    """The rewrites of `regions`, in order."""
    return tuple(
        Rewrite(choice.value, choice.source, choice.replaced, region.name, describe(choice.form))
        for region in regions
        for choice in region.choices
    )
