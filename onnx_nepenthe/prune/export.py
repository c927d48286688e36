"""From a pruned network to an ONNX file: dynamic batch, checked against torch, with a note of how it was made."""

from __future__ import annotations

import copy
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from onnx_nepenthe.errors import UnreadableError, UnsupportedError, VerificationError
from onnx_nepenthe.prune.tidying import kept_norms, tidy

Array = npt.NDArray[Any]
Run = Callable[[Path, Array], Array]
"""(ONNX file, inputs (samples, …)) → its first output; how the caller runs ONNX models."""
INPUT, OUTPUT, BATCH = "input", "output", "N"
PREFIX = "onnx_nepenthe."
"""Of every key in `metadata_props`."""
TOLERANCE = 1e-4
"""Largest difference to torch, as a share of the largest output; float32 kernels that sum in another order stay far
below."""


@dataclass(frozen=True)
class Agreement:
    """How far the ONNX model is from the network that it was made of.

    Attributes:
        difference: largest absolute difference of an output.
        scale: largest absolute output.
        samples: how many were compared.
    """

    difference: float
    scale: float
    samples: int


def export(
    module: nn.Module,
    example: torch.Tensor,
    path: Path,
    *,
    run: Run,
    metadata: Mapping[str, object] | None = None,
    opset: int | None = None,
    keep_norms: bool = False,
    output: str = OUTPUT,
) -> Agreement:
    """Writes `module` in evaluation mode as `path`, atomically and only when it agrees with torch.

    Args:
        module: takes one tensor and gives one; not changed.
        example: (2 or more, …), an input; axis 0 becomes the dynamic batch.
        path: of the result; weights are inside it, beyond 2 GB beside it.
        run: runs an ONNX file, with its optimiser off.
        metadata: written to `metadata_props` as JSON, each key behind "onnx_nepenthe.".
        opset: of the result; None for the exporter's own.
        keep_norms: BatchNormalization stays an operator of its own; otherwise it is folded into convolutions.
        output: name of the result.

    Returns:
        How far the outputs are from torch's on `example` and on one sample alone.

    Raises:
        UnsupportedError: the exporter cannot handle the network.
        VerificationError: onnxruntime and torch disagree; nothing is written.
        UnreadableError: the folder cannot be written.

    Source: https://docs.pytorch.org/docs/stable/onnx_export.html (dynamo=True).
    """
    twin = copy.deepcopy(module).to("cpu").eval()
    example = example.detach().to("cpu")
    program = _program(twin, example, opset, output, keep_norms=keep_norms)
    for key, value in (metadata or {}).items():
        program.model.metadata_props[PREFIX + key] = json.dumps(value, sort_keys=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            written = Path(folder) / path.name
            program.save(str(written))
            agreement = _agreement(twin, example, written, run)
            for part in sorted(Path(folder).iterdir(), key=lambda part: part == written):
                os.replace(part, path.with_name(part.name))
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be written ({error.strerror or error})") from error
    return agreement


def _program(
    module: nn.Module, example: torch.Tensor, opset: int | None, output: str, *, keep_norms: bool
) -> torch.onnx.ONNXProgram:
    try:
        with _silence():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[output],
                dynamic_shapes=({0: torch.export.Dim(BATCH)},),
                optimize=False,
                verbose=False,
            )
            if program is not None:
                _optimise(program, keep_norms=keep_norms)
    except Exception as error:
        # The exporter's own message is a headline; what went wrong is what it was raised from.
        cause = error.__cause__ or error
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise UnsupportedError(
            f"the network cannot be exported to ONNX: {reason}; try torch.onnx.export(model, …, dynamo=True) alone"
        ) from error
    if program is None:
        raise UnsupportedError("the network cannot be exported to ONNX: the exporter returned nothing")
    made = program.model.opset_imports.get("")
    if opset is not None and made != opset:
        raise UnsupportedError(f"the network cannot be exported to ONNX: opset {opset} was asked for, {made} was made")
    return program


def _optimise(program: torch.onnx.ONNXProgram, *, keep_norms: bool) -> None:
    with kept_norms(program.model) if keep_norms else nullcontext():
        program.optimize()
    tidy(program.model)


@contextmanager
def _silence() -> Iterator[None]:
    """The exporter warns of torchvision's absence and its own deprecations, and prints whole graphs when it fails."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _agreement(module: nn.Module, example: torch.Tensor, path: Path, run: Run) -> Agreement:
    difference = scale = 0.0
    for inputs in (example, example[:1]):
        with torch.no_grad():
            wanted = module(inputs).numpy()
        found = run(path, inputs.numpy())
        if found.shape != wanted.shape:
            raise VerificationError(f"{path.name}: gives {found.shape} where torch gives {wanted.shape}; not written")
        # Unlike `max`, `np.maximum` keeps a NaN, and a NaN compares as false.
        difference = float(np.maximum(difference, np.abs(found - wanted).max(initial=0.0)))
        scale = float(np.maximum(scale, np.abs(wanted).max(initial=0.0)))
    if not difference <= TOLERANCE * scale:
        raise VerificationError(
            f"{path.name}: differs from torch by {difference:.2g} where outputs reach {scale:.2g}; not written"
        )
    return Agreement(difference, scale, len(example))
