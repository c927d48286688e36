"""Pieces from what code hands over: mappings of arrays, bare arrays, pairs with labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_nepenthe.errors import NepentheError, UnreadableError
from onnx_nepenthe.opview import Tensor
from onnx_nepenthe.sources.base import Batch, Indices, Piece
from onnx_nepenthe.sources.ports import (
    cast,
    check_dtype,
    check_labels,
    check_shape,
    common_length,
    labels_name,
    match_names,
)

Array = npt.NDArray[Any]


def pieces_from_records(
    records: Iterable[object], ports: Sequence[Tensor], where: str, *, whole_feeds: bool
) -> Iterator[Piece]:
    """One piece per record: a mapping input → (samples, …), an array for a model with one input, or (either, labels).

    A record whose arrays cannot be cut along axis 0 (a scalar input, other lengths) is one whole feed.

    Raises:
        UnreadableError: a record that does not fit, or labels on some records only; or the code raised.
    """
    has_labels: bool | None = None
    for number, record in enumerate(_guarded(records, where)):
        place = f"{where}, record {number}"
        piece, labelled = _piece(record, ports, place, whole_feeds)
        if has_labels is not None and labelled != has_labels:
            raise UnreadableError(f"{place}: some records have labels and others have none")
        has_labels = labelled
        yield piece


def piece_from_arrays(arrays: Mapping[str, Array], labels: Array | None, ports: Sequence[Tensor], where: str) -> Piece:
    """All samples of `arrays` (port name → array of the port's shape) as one piece; values are checked when read."""

    def read(at: Indices) -> Batch:
        feeds = {
            port.name: cast(arrays[port.name][at] if arrays[port.name].ndim else arrays[port.name], port, where)
            for port in ports
        }
        return Batch(feeds, None if labels is None else labels[at], len(at))

    form = tuple(arrays[port.name].shape[1:] for port in ports)
    return Piece(common_length({name: array.shape for name, array in arrays.items()}, where), read, form)


def arrays_from_mapping(
    given: Mapping[Any, Any], ports: Sequence[Tensor], where: str, *, whole: bool = False
) -> tuple[dict[str, Array], Array | None]:
    """Port name → array, types and shapes checked; and the labels, as they came.

    Raises:
        UnreadableError: names, ranks, static dimensions or types differ from the model's.
    """
    names = match_names([str(name) for name in given], ports, where)
    arrays: dict[str, Array] = {}
    for port in ports:
        array = _array(given[names[port.name]], f"{where}: input {port.name!r}")
        check_shape(array.shape, port, where, whole=whole)
        check_dtype(array.dtype, port, where)
        arrays[port.name] = array
    labels = labels_name(list(given), ports)
    return arrays, None if labels is None else _array(given[labels], f"{where}: the labels")


def whole_piece(arrays: Mapping[str, Array], ports: Sequence[Tensor], where: str, labels: Array | None = None) -> Piece:
    """One feed that is neither cut nor joined.

    Raises:
        UnreadableError: static dimensions differ, axis 0 among them.
    """
    for port in ports:
        check_shape(arrays[port.name].shape, port, where, whole=True)

    def read(_: Indices) -> Batch:
        return Batch({port.name: cast(arrays[port.name], port, where) for port in ports}, labels, 1, whole=True)

    return Piece(1, read, whole=True)


def _piece(record: object, ports: Sequence[Tensor], where: str, whole_feeds: bool) -> tuple[Piece, bool]:
    labels: object = None
    if isinstance(record, tuple | list) and len(record) == 2:
        record, labels = record
    if not isinstance(record, Mapping):
        if len(ports) != 1:
            raise UnreadableError(f"{where}: a model with {len(ports)} inputs takes mappings from input name to array")
        record = {ports[0].name: record}
    arrays, named_labels = arrays_from_mapping(record, ports, where)
    given = named_labels if labels is None else _array(labels, f"{where}: the labels")
    if whole_feeds or not _can_cut(arrays):
        whole = None if given is None else check_labels(np.atleast_1d(given), np.atleast_1d(given).shape[0], where)
        return whole_piece(arrays, ports, where, whole), given is not None
    size = common_length({name: array.shape for name, array in arrays.items()}, where)
    checked = None if given is None else check_labels(given, size, where)
    return piece_from_arrays(arrays, checked, ports, where), given is not None


def _can_cut(arrays: Mapping[str, Array]) -> bool:
    return all(array.ndim for array in arrays.values()) and len({len(array) for array in arrays.values()}) == 1


def _array(value: object, what: str) -> Array:
    """Anything numpy can take (a torch tensor on the CPU, a list of numbers …)."""
    try:
        return np.asarray(value)
    except Exception as error:
        raise UnreadableError(f"{what} is no array: {_first_line(error)}") from error


def _guarded(records: Iterable[object], where: str) -> Iterator[object]:
    try:
        yield from records
    except NepentheError:
        raise
    except Exception as error:
        raise UnreadableError(f"{where}: reading raised {type(error).__name__}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["(no message)"])[0]
