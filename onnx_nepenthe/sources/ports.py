"""Whether data fit the model's inputs: names, shapes, types, values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import UnreadableError, UnsupportedError
from onnx_nepenthe.opview import Tensor

Array = npt.NDArray[Any]
LABELS = "labels"
_DTYPES: dict[str, Any] = {
    "float": np.float32,
    "float16": np.float16,
    "double": np.float64,
    "bfloat16": ml_dtypes.bfloat16,
    "bool": np.bool_,
    "string": np.object_,
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_FLOATS = ("float", "float16", "double", "bfloat16")


def dtype_of(port: Tensor) -> np.dtype[Any] | None:
    """The numpy type of `port`; None when the model does not state one.

    Raises:
        UnsupportedError: a type that data cannot be given in (int4, float8 …).
    """
    if not port.dtype:
        return None
    if port.dtype not in _DTYPES:
        raise UnsupportedError(f"input {port.name!r} has type {port.dtype}, which no data source can supply")
    dtype: np.dtype[Any] = np.dtype(_DTYPES[port.dtype])
    return dtype


def is_float(port: Tensor) -> bool:
    """Whether `port` takes floating-point numbers."""
    return port.dtype in _FLOATS


def match_names(names: Collection[str], ports: Sequence[Tensor], where: str) -> dict[str, str]:
    """Port name → name in the data; data with one array for a model with one input may call it anything.

    Raises:
        UnreadableError: an input is missing; names what was expected and what was found.
    """
    wanted = [port.name for port in ports]
    found = [name for name in names if name in wanted or name != LABELS]
    if all(name in found for name in wanted):
        return {name: name for name in wanted}
    if len(wanted) == len(found) == 1:
        return {wanted[0]: found[0]}
    raise UnreadableError(
        f"{where}: the model's inputs are {_listed(wanted)}, the data have {_listed(found)}; rename the arrays"
    )


def labels_name(names: Collection[str], ports: Sequence[Tensor]) -> str | None:
    """The name of the labels in the data; None without them, or when "labels" is an input of the model."""
    return LABELS if LABELS in names and all(port.name != LABELS for port in ports) else None


def check_shape(shape: Sequence[int], port: Tensor, where: str, *, whole: bool = False) -> None:
    """Compare with the model's shape; axis 0 holds samples and is free unless the record is a `whole` feed.

    Raises:
        UnreadableError: the rank or a static dimension differs.
    """
    if port.shape is None:
        return
    stated = "x".join("?" if dim is None else str(dim) for dim in port.shape) or "scalar"
    given = "x".join(map(str, shape)) or "scalar"
    if len(shape) != len(port.shape):
        hint = "; axis 0 must hold the samples" if len(shape) == len(port.shape) - 1 else ""
        raise UnreadableError(
            f"{where}: input {port.name!r} has rank {len(port.shape)} ({stated}),"
            f" the data have rank {len(shape)} ({given}){hint}"
        )
    for axis, (size, dim) in enumerate(zip(shape, port.shape, strict=True)):
        if isinstance(dim, int) and size != dim and (axis or whole):
            raise UnreadableError(f"{where}: input {port.name!r} is {stated}, the data {given} (axis {axis} differs)")


def check_dtype(dtype: np.dtype[Any], port: Tensor, where: str) -> None:
    """Compare types; floats may change width, and so may integers (their values are looked at later).

    Raises:
        UnreadableError: the kinds differ (integers for floats, floats for integers, text for numbers …).
    """
    wanted = dtype_of(port)
    if wanted is None or dtype == wanted or _kind(dtype) == _kind(wanted):
        return
    if _kind(wanted) in "ib" and _kind(dtype) in "ib":
        return
    hint = "give the data as the model was trained on them"
    if dtype == np.uint8 and is_float(port):
        hint = "scale the bytes as in training (a folder of images is scaled by 1/255)"
    raise UnreadableError(f"{where}: input {port.name!r} takes {port.dtype}, the data are {dtype}; {hint}")


def cast(array: Array, port: Tensor, where: str) -> Array:
    """`array` in the type of `port`.

    Raises:
        UnreadableError: the types do not fit, a number is NaN, infinite or beyond the input's type.
    """
    wanted = dtype_of(port)
    check_dtype(array.dtype, port, where)
    if wanted is None or _kind(wanted) == "s":
        return array if wanted is None else array.astype(object)
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(wanted, copy=False)
    if _kind(wanted) == "f":
        _check_finite(array, result, port, where)
    elif result is not array and not np.array_equal(result, array):
        raise UnreadableError(f"{where}: input {port.name!r} takes {port.dtype}, which cannot hold all of the data")
    return result


def check_labels(labels: Array, samples: int, where: str) -> Array:
    """Class numbers as int64, axis 0 = samples; (n, 1) becomes (n,).

    Raises:
        UnreadableError: another length than the data, or not whole numbers.
    """
    if labels.ndim == 0 or len(labels) != samples:
        raise UnreadableError(f"{where}: {samples} samples but {labels.size if labels.ndim else 'one lone'} labels")
    if labels.dtype.kind not in "iuf" or not np.array_equal(labels, np.trunc(labels)):
        raise UnreadableError(f"{where}: labels must be whole class numbers, not {labels.dtype}")
    labels = labels.astype(np.int64)
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def class_count(outputs: Sequence[Tensor]) -> int | None:
    """How many classes the first output that holds scores (n, classes) tells apart; None where none does.

    >>> class_count([Tensor("logits", ("N", 10), "float")]), class_count([Tensor("mask", ("N", 1, 8, 8), "float")])
    (10, None)
    """
    for port in outputs:
        if port.shape is None or len(port.shape) < 2 or not is_float(port):
            continue
        classes, rest = port.shape[1], port.shape[2:]
        if isinstance(classes, int) and classes > 1 and all(size == 1 for size in rest):
            return classes
    return None


def check_classes(labels: Array, classes: int, where: str) -> Array:
    """Class numbers as they are; rows with a single one, one column a class, as class numbers.

    Raises:
        UnreadableError: a class that the model has not got.
    """
    if labels.ndim == 2 and labels.shape[1] == classes:
        is_one_hot = bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())
        return labels.argmax(axis=1).astype(np.int64) if is_one_hot else labels
    if labels.ndim != 1 or not labels.size:
        return labels
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= classes:
        raise UnreadableError(
            f"{where}: label {least if least < 0 else most}, but the model tells {classes} classes apart, which are "
            f"0 to {classes - 1}; renumber the labels, or leave them out"
        )
    return labels


def common_length(shapes: Mapping[str, Sequence[int]], where: str) -> int:
    """Length of axis 0 of all arrays that have one.

    Raises:
        UnreadableError: they differ, or there is nothing in them.
    """
    lengths = {name: shape[0] for name, shape in shapes.items() if len(shape)}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise UnreadableError(f"{where}: the inputs differ in their number of samples (axis 0): {listed}")
    length = next(iter(lengths.values()), 1)
    if not length:
        raise UnreadableError(f"{where}: holds no samples")
    return length


def _check_finite(given: Array, result: Array, port: Tensor, where: str) -> None:
    if np.isfinite(result).all():
        return
    if np.isfinite(given).all():
        raise UnreadableError(f"{where}: input {port.name!r} takes {port.dtype}, whose range the data exceed")
    raise UnreadableError(f"{where}: input {port.name!r} has NaN or infinite values; clean the data")


def _kind(dtype: np.dtype[Any]) -> str:
    """f(loat), i(nteger), b(ool), s(tring) or the numpy letter."""
    if dtype == np.dtype(ml_dtypes.bfloat16):
        return "f"
    return {"u": "i", "U": "s", "S": "s", "O": "s"}.get(dtype.kind, dtype.kind)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
