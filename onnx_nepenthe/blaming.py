"""Whose fault an error is that nobody foresaw: the model's, when ONNX or onnxruntime refuse it as malformed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from onnx_nepenthe.errors import NepentheError, UnreadableError
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.graph.validity import why_invalid
from onnx_nepenthe.session import SessionConfig, open_session

MALFORMED = ("INVALID_GRAPH", "INVALID_PROTOBUF", "INVALID_ARGUMENT", "FAIL:", "ShapeInferenceError")
"""How onnxruntime speaks of models that no runtime could run."""


@contextmanager
def blamed(model: Model, name: str, config: SessionConfig) -> Iterator[None]:
    """Turn what goes wrong inside into one line if the model is to blame, and leave it a bug of ours if not.

    Args:
        model: that is worked on.
        name: of the model.
        config: how it would be run.

    Raises:
        UnreadableError: something unforeseen went wrong, and the model is malformed.
    """
    try:
        yield
    except (NepentheError, MemoryError):
        raise
    except Exception as error:
        reason = why_invalid(model) or _why_refused(model, config)
        if reason is None:
            raise
        raise UnreadableError(f"{name}: is malformed: {reason}") from error


def _why_refused(model: Model, config: SessionConfig) -> str | None:
    try:
        open_session(model, replace(config, optimise=False))
    except NepentheError as error:
        return str(error) if any(word in str(error) for word in MALFORMED) else None
    return None
