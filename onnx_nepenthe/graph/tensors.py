"""Tensors stored as ONNX files (`input_0.pb`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from onnx_nepenthe.errors import UnreadableError


def read_tensor(path: Path) -> npt.NDArray[Any]:
    """The array in a serialised TensorProto.

    Raises:
        UnreadableError: no such file, another kind of file, or data kept in a further file.

    Source: https://onnx.ai/onnx/repo-docs/OnnxBackendTest.html.
    """
    proto = onnx.TensorProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read ({error.strerror})") from error
    except DecodeError as error:
        raise UnreadableError(f"{path}: not an ONNX tensor (TensorProto)") from error
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        raise UnreadableError(f"{path}: keeps its data in a further file; store them in the tensor itself")
    try:
        return np.asarray(numpy_helper.to_array(proto))
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise UnreadableError(f"{path}: not a complete ONNX tensor (TensorProto)") from error
