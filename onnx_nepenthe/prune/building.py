"""Networks by name: built in, or the user's own."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from onnx_nepenthe.errors import UnreadableError, UsageError
from onnx_nepenthe.prune.networks import NETWORKS
from onnx_nepenthe.sources.python import imported


def build(spec: str, example: torch.Tensor, classes: int, *, width: float = 1.0, seed: int = 0) -> nn.Module:
    """A network with fresh weights.

    Args:
        spec: a name of `NETWORKS`, or "package.module:callable", which runs that code; the callable returns a Module.
        example: (samples, …), an input.
        classes: outputs of a network of `NETWORKS`.
        width: its width, 1 as published.
        seed: of the weights.

    Raises:
        UsageError: no such network, or one that does not take such data.
        UnreadableError: the callable raised.
    """
    torch.manual_seed(seed)
    if ":" in spec:
        return _called(spec)
    if spec not in NETWORKS:
        near = difflib.get_close_matches(spec, list(NETWORKS), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"no network is called {spec!r}{hint}; there are {', '.join(NETWORKS)}, or package.module:callable"
        )
    if example.ndim != 4 or example.shape[2] != example.shape[3]:
        shape = "x".join(map(str, example.shape[1:]))
        raise UsageError(f"{spec} takes square images (channels, size, size); the data are {shape}")
    return NETWORKS[spec](example.shape[1], example.shape[2], classes, width)


def _called(spec: str) -> nn.Module:
    call = imported(spec)
    try:
        made: Any = call()
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UnreadableError(f"{spec}: the call raised {type(error).__name__}: {reason}") from error
    if not isinstance(made, nn.Module):
        raise UsageError(f"{spec}: returned {type(made).__name__}; a torch.nn.Module is needed")
    return made


def load_weights(module: nn.Module, path: Path) -> None:
    """Puts the weights of a file that `torch.save(module.state_dict(), …)` made into `module`; nothing is unpickled.

    Raises:
        UnreadableError: no such file, or weights of another network.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UnreadableError(
            f"{path}: no readable weights ({type(error).__name__}); save them with torch.save(model.state_dict(), …)"
        ) from error
    if not isinstance(state, dict):
        raise UnreadableError(f"{path}: holds {type(state).__name__}, not a state dict")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UnreadableError(f"{path}: weights of another network ({' '.join(lines[1:2] or lines)[:200]})") from error
