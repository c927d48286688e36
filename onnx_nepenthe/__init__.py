"""onnx-nepenthe: fewer layers, the same numbers, never slower."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Any, Unpack

    from onnx_nepenthe.publishing import Frontier
    from onnx_nepenthe.run import AnyModel, Arguments, Inspection, Outcome

    PathLike = str | os.PathLike[str]

__all__ = ["__version__", "collapse", "collapse_with_report", "inspect", "pareto"]
__version__ = "0.1.0"
ModelT = TypeVar("ModelT")


@overload
def collapse(model: PathLike, output: PathLike, *, data: object = None, **options: Unpack[Arguments]) -> Path: ...
@overload
def collapse(model: ModelT, output: None = None, *, data: object = None, **options: Unpack[Arguments]) -> ModelT: ...
def collapse(
    model: AnyModel, output: PathLike | None = None, *, data: object = None, **options: Unpack[Arguments]
) -> Any:
    """A shallower model that computes the same and is not slower.

    Args:
        model: a path, an `onnx.ModelProto`, an `onnx_ir.Model`, an `onnx_graphsurgeon.Graph` or a
            `torch.onnx.ONNXProgram`; not changed.
        output: where the result is written; for a path only, and then required.
        data: calibration data, as a path or in memory: see `sources.open_source`. None to go by proofs alone.
        options: the fields of `options.Options`, and `provider` and `threads`.

    Returns:
        The same kind as `model`; for a path, the Path written, for an ONNXProgram a ModelProto. When nothing could be
        collapsed: `model` itself, or the path of a copy, or the program's ModelProto.

    Raises:
        NepentheError: one line that says what, where, and how to mend it; a `VerificationError` when the result
            computes something else.
    """
    return collapse_with_report(model, output, data=data, **options)[0]


def collapse_with_report(
    model: AnyModel, output: PathLike | None = None, *, data: object = None, **options: Unpack[Arguments]
) -> tuple[Any, Outcome]:
    """As `collapse`, with the record of what was found, decided, done and measured.

    Raises:
        NepentheError: as `collapse`.
    """
    from onnx_nepenthe import run  # noqa: PLC0415 — importing the package loads nothing heavy

    return run.collapse(model, output, run.options_from(data, options))


def inspect(model: AnyModel, *, data: object = None, **options: Unpack[Arguments]) -> Inspection:
    """What rectifiers there are, what regimes they are in, and which could go; nothing is changed.

    Args:
        model, data, options: as `collapse`.

    Raises:
        NepentheError: an unreadable model or data, or a model that cannot be run on them.
    """
    from onnx_nepenthe import run  # noqa: PLC0415 — importing the package loads nothing heavy

    return run.inspect(model, run.options_from(data, options))


def pareto(
    model: AnyModel, folder: PathLike, *, data: object, drops: Iterable[float] = (), **options: Unpack[Arguments]
) -> Frontier:
    """A folder of models to pick from: the exact collapse, and the best one for each budget.

    Args:
        model: as `collapse`.
        folder: where; replaced when it is an earlier one, refused when it has anything else in it.
        data: as `collapse`.
        drops: the budgets, in points of `metric`; made from `max_drop` (or 4 points) when there are none.
        options: as `collapse`.

    Returns:
        What was written, with every figure; `frontier.json` in the folder says the same.

    Raises:
        NepentheError: as `collapse`, or a folder with other files.
    """
    from onnx_nepenthe import publishing, run  # noqa: PLC0415 — importing the package loads nothing heavy

    return publishing.publish(model, folder, run.options_from(data, options), tuple(drops))
