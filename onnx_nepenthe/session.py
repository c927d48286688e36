"""Run models: the only door to onnxruntime."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import NepentheError, UnreadableError, UnsupportedError, UsageError
from onnx_nepenthe.graph import serial
from onnx_nepenthe.opview import Shape, Tensor
from onnx_nepenthe.providers import (
    cpu_name,
    device_of,
    full_name,
    is_start_failure,
    not_started,
    short_name,
    with_fallback,
)
from onnx_nepenthe.starting import CPU, one_line, start

Array = npt.NDArray[Any]
_FATAL_ONLY = 4
_UNREADABLE = ("NoSuchFile", "InvalidProtobuf")
_UNREGISTERED = ("is not a registered function/op", "No Op registered for", "No opset import for domain")
_CUSTOM_OPS = "; if a library has the operator, give that with --custom-ops"


@dataclass(frozen=True)
class SessionConfig:
    """How models are run.

    Attributes:
        provider: "cpu", "cuda" … or onnxruntime's own name.
        threads: threads of one operator; 0 leaves the number to onnxruntime.
        optimise: whether onnxruntime may rewrite the graph; False is the reference that results are compared with.
        custom_ops: libraries with kernels of custom operators; loading one runs its code.
    """

    provider: str = "cpu"
    threads: int = 0
    optimise: bool = True
    custom_ops: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Held:
    """A result on its device, or an array."""

    value: Any

    def read(self) -> Array:
        """The result as an array, copied from its device if it has one."""
        array: Array = self.value if isinstance(self.value, np.ndarray) else self.value.numpy()
        return array


class Session:
    """A model ready to run; made by `open_session`.

    Attributes:
        inputs, outputs: what a caller feeds and gets; dtypes in lower case ("float", "seq(tensor(float))").
        provider: the one in use, "cpu" or another short name.
    """

    def __init__(
        self,
        native: Any,
        inputs: tuple[Tensor, ...],
        outputs: tuple[Tensor, ...],
        provider: str,
        name: str,
        held: Any = None,
    ) -> None:
        self._native = native
        self._held = held
        self._name = name
        self.inputs = inputs
        self.outputs = outputs
        self.provider = provider

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """The named outputs, all of them by default.

        Args:
            feeds: one array per input; bfloat16 as `ml_dtypes.bfloat16`.
            outputs: names, in the order wanted.

        Raises:
            UnsupportedError: onnxruntime cannot run it on these feeds.
        """
        names = list(outputs) if outputs is not None else [o.name for o in self.outputs]
        try:
            if any(array.dtype.name == "bfloat16" for array in feeds.values()):
                return self._run_bfloat16(feeds, names)
            results: list[Array] = self._native.run(names, dict(feeds))
        except Exception as error:
            raise UnsupportedError(f"{self._name} cannot be run on this input: {one_line(error)}") from error
        return results

    def run_bound(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Held]:
        """The named outputs, left where they were made until they are read; arguments and errors as in `run`."""
        if any(array.dtype.name in _UNBOUND for array in feeds.values()):
            return [Held(result) for result in self.run(feeds, outputs)]
        try:
            binding = self._native.io_binding()
            for name, array in feeds.items():
                binding.bind_cpu_input(name, np.ascontiguousarray(array))
            for name in outputs:
                binding.bind_output(name, device_of(self.provider))
            self._native.run_with_iobinding(binding)
            return [Held(value) for value in binding.get_outputs()]
        except Exception as error:
            raise UnsupportedError(f"{self._name} cannot be run on this input: {one_line(error)}") from error

    def _run_bfloat16(self, feeds: Mapping[str, Array], names: list[str]) -> list[Array]:
        """Numpy has no bfloat16 of its own; onnxruntime takes the bits with the type beside them."""
        make = _runtime().OrtValue
        values = {}
        for name, array in feeds.items():
            if array.dtype.name == "bfloat16":
                bits = np.ascontiguousarray(array).view(np.uint16)
                values[name] = make.ortvalue_from_numpy_with_onnx_type(bits, _ONNX_BFLOAT16)
            else:
                values[name] = make.ortvalue_from_numpy(np.ascontiguousarray(array))
        return [value.numpy() for value in self._native.run_with_ort_values(names, values)]


_ONNX_BFLOAT16, _UNBOUND = 16, ("bfloat16", "object")


def open_session(model: serial.Model | str | Path, config: SessionConfig = SessionConfig()) -> Session:
    """Load a model.

    Args:
        model: in memory, or the path of a file (its external data are found beside it).
        config: provider, threads, optimiser.

    Raises:
        NepentheError: onnxruntime is not installed.
        UsageError: the provider is unknown, not installed, or cannot start here; a library that is none.
        UnreadableError: the path holds no ONNX model.
        UnsupportedError: onnxruntime cannot run this model; its cause is in the message.
    """
    runtime = _runtime()
    provider = full_name(config.provider, runtime.get_available_providers())
    name = model.graph.name or "the model" if isinstance(model, serial.Model) else str(model)
    try:
        native, held = start(runtime, model, _options(runtime, config), with_fallback(provider))
    except NepentheError:
        raise
    except Exception as error:
        if provider != CPU and is_start_failure(str(error)):
            raise not_started(config.provider) from error
        kind = UnreadableError if type(error).__name__ in _UNREADABLE else UnsupportedError
        hint = _CUSTOM_OPS if any(words in str(error) for words in _UNREGISTERED) else ""
        raise kind(f"onnxruntime {runtime.__version__} cannot run {name}: {one_line(error)}{hint}") from error
    if native.get_providers()[0] != provider:
        raise not_started(config.provider)
    source = model if isinstance(model, serial.Model) else Path(model)
    return Session(
        native,
        tuple(_tensor(value, source) for value in native.get_inputs()),
        tuple(_tensor(value, source) for value in native.get_outputs()),
        short_name(provider),
        name,
        held,
    )


def check_provider(provider: str) -> None:
    """Raises UsageError for a provider that is unknown or not installed, NepentheError without onnxruntime."""
    full_name(provider, _runtime().get_available_providers())


def environment(config: SessionConfig = SessionConfig()) -> dict[str, str | int]:
    """Versions and machine, to stand beside every number that depends on them.

    Raises:
        NepentheError: onnxruntime is not installed.
    """
    runtime = _runtime()
    return {
        "onnx": importlib.metadata.version("onnx"),
        "onnx_ir": importlib.metadata.version("onnx_ir"),
        "onnxruntime": str(runtime.__version__),
        "providers": ", ".join(short_name(full) for full in runtime.get_available_providers()),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "provider": config.provider,
        "threads": config.threads,
    }


def _runtime() -> Any:
    """The onnxruntime module, imported late so that everything that runs no model works without it."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise NepentheError(f"onnxruntime cannot be loaded: {one_line(error)}") from error
        raise NepentheError(_INSTALL) from error
    except ImportError as error:
        raise NepentheError(f"onnxruntime cannot be loaded: {one_line(error)}") from error
    if not hasattr(runtime, "InferenceSession"):
        # What uninstalling one of two distributions of it leaves behind: a folder that imports as nothing.
        raise NepentheError(_INSTALL)
    return runtime


_INSTALL = (
    "onnxruntime is not installed: `pip install onnx-nepenthe[cpu]`, or `pip install onnx-nepenthe[gpu]` "
    "for NVIDIA GPUs (one of the two, not both)"
)


def _options(runtime: Any, config: SessionConfig) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = config.threads
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    level = runtime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if config.optimise else level.ORT_DISABLE_ALL
    for library in config.custom_ops:
        try:
            options.register_custom_ops_library(library)
        except Exception as error:
            raise UsageError(f"--custom-ops {library} is no library of custom operators: {one_line(error)}") from error
    return options


def _tensor(value: Any, source: serial.Model | Path) -> Tensor:
    kind = re.fullmatch(r"tensor\((\w+)\)", value.type)
    shape: Shape | None = tuple(None if isinstance(d, int) and d < 0 else d for d in value.shape)
    if not shape and not serial.has_rank(source, value.name):
        shape = None
    return Tensor(value.name, shape, kind[1] if kind else value.type)
