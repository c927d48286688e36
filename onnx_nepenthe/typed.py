"""Whether values have the types they are declared with, for records that come from files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def fits(value: Any, kind: Any) -> bool:
    """Whether `value` is of the type `kind`, in all its depth.

    Known are classes, unions, tuples and records that are dataclasses; of other generic types only the class is looked
    at. A bool is no int, an int is a float.

    >>> fits((1, 2), tuple[int, ...]), fits((1, "a"), tuple[int, ...]), fits(None, int | None), fits(True, int)
    (True, False, True, False)
    """
    origin = get_origin(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in get_args(kind))
    if origin is Literal:
        return value in get_args(kind)
    if origin is tuple:
        return isinstance(value, tuple) and _entries_fit(value, get_args(kind))
    if hasattr(origin, "__value__"):
        # From Python 3.12 on, numpy's NDArray[...] is an alias that stands for a type without being one.
        return fits(value, origin.__value__)
    if origin is not None:
        return isinstance(value, origin)
    if kind in (None, NoneType):
        return value is None
    if kind in (int, float):
        return isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
    return isinstance(value, kind) and (not is_dataclass(kind) or has_declared_types(value))


def has_declared_types(record: Any) -> bool:
    """Whether every field of a dataclass instance fits its declaration."""
    hints = get_type_hints(type(record))
    return all(fits(getattr(record, field.name), hints[field.name]) for field in fields(record))


def _entries_fit(value: tuple[Any, ...], kinds: tuple[Any, ...]) -> bool:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return all(fits(entry, kinds[0]) for entry in value)
    pairs: Iterable[tuple[Any, Any]] = zip(value, kinds, strict=False)
    return len(value) == len(kinds) and all(fits(entry, kind) for entry, kind in pairs)
