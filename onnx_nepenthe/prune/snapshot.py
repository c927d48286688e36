"""Copies of a subject's state, to come back to."""

from __future__ import annotations

from typing import Any

from torch.utils import _pytree as pytree

from onnx_nepenthe.prune.checkpoint import State
from onnx_nepenthe.prune.rectifier import Rectifier
from onnx_nepenthe.prune.subject import Subject


def snapshot(subject: Subject) -> State:
    """A copy of the subject's state that later training does not touch."""
    copied: dict[str, Any] = pytree.tree_map(
        lambda value: value.detach().clone() if hasattr(value, "detach") else value, subject.state_dict()
    )
    return copied


def rewind(subject: Subject, initial: State) -> None:
    """Weights and running statistics as in `initial`, under today's masks, lines and channels off.

    Source: SAP (ALGORITHMS.md §5) trains every round from the initial weights.
    """
    own = set()
    for name, module in subject.module.named_modules():
        if isinstance(module, Rectifier):
            keys = module.state_dict()
            own |= {f"{name}.{key}" for key in keys if not key.startswith("function.")}
    weights = {name: value for name, value in initial["module"].items() if name not in own}
    subject.module.load_state_dict({**subject.module.state_dict(), **weights})
    subject.enforce()
