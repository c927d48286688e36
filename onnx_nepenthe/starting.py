"""Hand a model to onnxruntime with as few copies of its weights as can be.

A small model goes as one message. A large one would be in memory several times then (ours, the message, the parsed
message, onnxruntime's own), so its weights are lent where they lie, or read by onnxruntime itself from a file.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.drafts import draft
from onnx_nepenthe.errors import NepentheError
from onnx_nepenthe.graph import serial
from onnx_nepenthe.graph.mapping import origin_of

MESSAGE_BYTES = 1 << 26
"""Weights of the largest model that goes as one message whatever for."""
PREFIX = "onnx-nepenthe-"
CPU = "CPUExecutionProvider"
_ONNX_BFLOAT16 = 16
_WARNING, _FATAL = 2, 4
"""onnxruntime's levels; the first is its own default, which it lets nobody read."""


def start(runtime: Any, model: serial.Model | str | Path, options: Any, providers: list[str]) -> tuple[Any, Any]:
    """An onnxruntime session, and what must live as long as it does.

    Args:
        runtime: the onnxruntime module.
        model: in memory, or the path of a file.
        options: the session's; changed.
        providers: onnxruntime's names.

    Raises:
        Exception: whatever onnxruntime raises.
        UnreadableError: the file of a large model was changed since it was read.
        NepentheError: no room for a large model that is in no file as it is.
    """

    def begin(source: str | bytes) -> Any:
        with contextlib.nullcontext() if providers == [CPU] else _silenced(runtime):
            return runtime.InferenceSession(source, options, providers=providers, enable_fallback=0)

    if not isinstance(model, serial.Model):
        return begin(str(model)), None
    size = serial.weight_bytes(model)
    if size <= min(MESSAGE_BYTES, serial.LARGEST_MESSAGE_BYTES):
        return begin(serial.to_bytes(model)), None
    is_plain = options.graph_optimization_level == runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if is_plain and providers == [CPU]:
        with _naming_the_folder():
            return _begin_lent(begin, runtime, model, options)
    if size <= serial.LARGEST_MESSAGE_BYTES and origin_of(model) is None:
        return begin(serial.to_bytes(model)), None
    with on_disk(model) as path:
        return begin(str(path)), None


@contextlib.contextmanager
def on_disk(model: serial.Model) -> Iterator[Path]:
    """A file with the model, for sessions of it: the one it was read from, or another that is gone on leaving.

    Raises:
        UnreadableError: the file was changed since it was read.
        NepentheError: no room for another one.
    """
    if (origin := origin_of(model)) is not None:
        serial.page_out(model)
        yield origin
        return
    with contextlib.ExitStack() as stack:
        with _naming_the_folder():
            path = serial.save_for_runtime(model, stack.enter_context(_folder()))
        serial.page_out(model)
        yield path


@contextlib.contextmanager
def _naming_the_folder() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = tempfile.gettempdir()
        raise NepentheError(
            f"a large model needs room in {where}: {error.strerror or error}; set TMPDIR to another folder"
        ) from error


def _begin_lent(begin: Any, runtime: Any, model: serial.Model, options: Any) -> tuple[Any, Any]:
    """onnxruntime uses weights where they are when it may not rewrite the graph, and only the CPU can.

    Where it looks for weights there is an empty file, so that none can be read but those that are lent.
    """
    message, arrays = serial.without_weights(model)
    values = {name: _value(runtime, array) for name, array in arrays.items()}
    for name, value in values.items():
        options.add_initializer(name, value)
    if serial.weight_bytes(model) > serial.LARGEST_MESSAGE_BYTES:
        # Packed weights are copies.
        options.add_session_config_entry("session.disable_prepacking", "1")
    with _folder() as folder:
        (folder / serial.NO_WEIGHTS).touch()
        path = folder / "model.onnx"
        path.write_bytes(message)
        return begin(str(path)), values


def one_line(error: BaseException) -> str:
    """The cause without onnxruntime's prefix, source positions and line breaks.

    >>> one_line(RuntimeError("[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : no Relu\\n for int8"))
    'NOT_IMPLEMENTED: no Relu for int8'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : (\w+) : ", r"\1: ", text)
    text = re.sub(r"Load model from \S+ failed: ?(Fatal error: )?", "", text)
    return re.sub(r"/\S+\.(cc|h):\d+ ", "", text)


@contextlib.contextmanager
def _silenced(runtime: Any) -> Iterator[None]:
    """Libraries of a provider that are missing are told of on stderr, whatever the session's own level of logging."""
    runtime.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        runtime.set_default_logger_severity(_WARNING)


def _folder() -> AbstractContextManager[Path]:
    return draft(PREFIX, Path(tempfile.gettempdir()))


def _value(runtime: Any, array: npt.NDArray[Any]) -> Any:
    if array.dtype.name == "bfloat16":
        return runtime.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _ONNX_BFLOAT16)
    return runtime.OrtValue.ortvalue_from_numpy(array)
