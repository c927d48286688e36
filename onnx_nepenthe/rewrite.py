"""Make the new model: every choice becomes operators, and what nothing needs any more goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnx_nepenthe.emit import Target, emit
from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.view import GraphView
from onnx_nepenthe.plan import Region


@dataclass(frozen=True)
class Rewrite:
    """One journal entry.

    Attributes:
        value: what is computed anew.
        source: from which value.
        replaced: labels of the operators it replaces.
        region: the region it belongs to.
    """

    value: str
    source: str
    replaced: tuple[str, ...]
    region: str


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
    return editor.finish()


def journal(regions: Sequence[Region]) -> tuple[Rewrite, ...]:
    """The rewrites of `regions`, in order."""
    return tuple(
        Rewrite(choice.value, choice.source, choice.replaced, region.name)
        for region in regions
        for choice in region.choices
    )
