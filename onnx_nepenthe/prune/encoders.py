"""Torch's transformer encoders, looked into: their own forward asks for shapes, and a fused path hides its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_LAYERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


def is_open(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call can be followed: of an encoder or its layer, not of a class derived from it, without masks."""
    is_encoder = type(module) in (nn.TransformerEncoder, nn.TransformerEncoderLayer)
    return is_encoder and not any(value is not None and value is not False for value in (*args[1:], *kwargs.values()))


def plain(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward that computes the same for a call that `is_open`: one layer after the other."""
    if type(module) is not nn.TransformerEncoder:
        return forward

    def in_turn(src: Any, *_none: Any, **_nones: Any) -> Any:
        for layer in module.layers:
            src = layer(src)
        return src if module.norm is None else module.norm(src)

    return in_turn


@contextmanager
def without_fused_path() -> Iterator[None]:
    """In the meantime an encoder layer computes with its own modules also in evaluation mode."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def hidden_activations(module: nn.Module) -> int:
    """How many activations the layers inside `module` call as functions, so that no module of theirs is to be seen."""
    layers = [part for part in module.modules() if isinstance(part, _LAYERS)]
    return sum(not isinstance(layer.activation, nn.Module) for layer in layers)
