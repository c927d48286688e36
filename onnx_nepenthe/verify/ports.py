"""Inputs and outputs of two sessions against each other."""

from __future__ import annotations

from onnx_nepenthe.opview import Shape, Tensor


def port_differences(kind: str, before: tuple[Tensor, ...], after: tuple[Tensor, ...]) -> list[str]:
    """What changed, a line each.

    Args:
        kind: "input" or "output".
        before, after: those of the two sessions.
    """
    names, names_after = [port.name for port in before], [port.name for port in after]
    if names != names_after:
        return [f"{kind}s {', '.join(names_after) or 'none'} instead of {', '.join(names) or 'none'}"]
    found = []
    for old, new in zip(before, after, strict=True):
        if old.dtype != new.dtype:
            found.append(f"{kind} {old.name} has type {new.dtype} instead of {old.dtype}")
        if not _compatible(old.shape, new.shape):
            found.append(f"{kind} {old.name} has shape {new.shape} instead of {old.shape}")
    return found


def _compatible(old: Shape | None, new: Shape | None) -> bool:
    """Whether some array has both shapes; runtimes infer more or fewer sizes of the same output."""
    if old is None or new is None:
        return True
    pairs = zip(old, new, strict=False)
    return len(old) == len(new) and all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))
