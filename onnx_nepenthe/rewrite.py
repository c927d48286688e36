"""Make the new model: every choice becomes operators, and what nothing needs any more goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from onnx_nepenthe.affine.describe import describe
from onnx_nepenthe.emit import Target, emit
from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.opview import OpView
from onnx_nepenthe.plan import Choice, Region
from onnx_nepenthe.sketch import Sketch, sketch
from onnx_nepenthe.ways import is_nothing


@dataclass(frozen=True)
class Rewrite:
    """One journal entry.

    Attributes:
        value: what is computed anew.
        source: from which value; "" for a constant.
        replaced: labels of the operators it replaces.
        region: the region it belongs to.
        made: what replaces them, in a few words ("Conv 3x3 16→32").
        before: the part that is replaced, for a picture; empty where there is none to draw.
    """

    value: str
    source: str
    replaced: tuple[str, ...]
    region: str
    made: str = ""
    before: Sketch = field(default_factory=Sketch)


def rewrite(model: Any, view: GraphView, regions: Sequence[Region]) -> Any:
    """A new model with the choices of `regions`; `model` (an onnx_ir model) is not changed."""
    editor = Editor(model)
    for region in regions:
        for choice in region.choices:
            editor.replace(choice.value, _made(editor, view, choice))
    _store_constants(editor, view)
    if any(_is_narrower(choice, view) for region in regions for choice in region.choices):
        editor.forget_shapes()
    return editor.finish()


def _made(editor: Editor, view: GraphView, choice: Choice) -> Any:
    """The value of a choice, its summands added up in order."""
    dtype = view.tensors[choice.value].dtype
    target, found = Target(editor, dtype, choice.value), None
    for name, form in ((choice.source, choice.form), *choice.beside):
        source = editor.value(name)
        if view.tensors[name].dtype != dtype:
            source = editor.cast(source, dtype, hint=choice.value)
        part = emit(form, source, target)
        found = part if found is None else target.node("Add", [found, part])
    return found


def _is_narrower(choice: Choice, view: GraphView) -> bool:
    """Whether a value has other sizes than before, so that what follows from it has too."""
    known = view.tensors[choice.value].shape
    return known is not None and choice.form.value_shape != known


def computed_weights(view: GraphView) -> tuple[str, ...]:
    """Computed constants that an operator that stays, a subgraph or the caller needs; a rewrite makes them weights."""

    def is_needed(name: str) -> bool:
        users = (view.ops[at] for at in view.consumers.get(name, ()))
        return view.is_pinned(name) or any(not _is_computed(op, view) for op in users)

    return tuple(name for name in sorted(view.computed) if view.tensors[name].constant is not None and is_needed(name))


def _store_constants(editor: Editor, view: GraphView) -> None:
    for name in computed_weights(view):
        tensor = view.tensors[name]
        if tensor.constant is not None and editor.has(name):
            editor.replace(name, editor.constant(name, tensor.constant, tensor.dtype))


def _is_computed(op: OpView, view: GraphView) -> bool:
    return all(name in view.computed for name in op.outputs if name)


def journal(view: GraphView, regions: Sequence[Region]) -> tuple[Rewrite, ...]:
    """The rewrites of `regions`, in order, and before them the constants that were computed once for all."""
    producers = {name: view.op_of(name) for name in computed_weights(view)}
    constants = (Rewrite(name, "", (op.label,), name, "constant") for name, op in producers.items() if op is not None)
    return (*constants, *(_entry(view, region, choice) for region in regions for choice in region.choices))


def _entry(view: GraphView, region: Region, choice: Choice) -> Rewrite:
    before = sketch(view, choice.source, choice.value, choice.replaced)
    return Rewrite(choice.value, choice.source, choice.replaced, region.name, described(choice), before)


def described(choice: Choice) -> str:
    """What is made, in a few words; a summand that stays what it is by its name."""
    others = (name if is_nothing(form) else describe(form) for name, form in choice.beside)
    return " + ".join([describe(choice.form), *others])
