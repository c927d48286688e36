"""Methods and their options by name, from text."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.methods import METHODS, Method
from onnx_nepenthe.prune.methods.base import option_docs

_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def method_of(name: str) -> Method:
    """The entry of `METHODS`.

    Raises:
        UsageError: there is none of this name.
    """
    found = METHODS.get(name)
    if found is None:
        raise UsageError(f"no method is called {name!r}{_near(name, METHODS)}; there are {', '.join(METHODS)}")
    return found


def config_of(method: Method, texts: Mapping[str, str], *, guard: bool = True) -> Any:
    """The method's config with the options that `texts` set and its defaults otherwise.

    Args:
        method: whose.
        texts: name of an option → value as text ("0.25", "true", "sap").
        guard: False switches the guards off where the method has any.

    Raises:
        UsageError: an option that the method has not got, or a value that is none.
    """
    kinds = get_type_hints(method.config)
    for name in texts:
        if name not in kinds:
            known = ", ".join(kinds) or "none"
            raise UsageError(f"{method.name} has no option {name!r}{_near(name, kinds)}; its options: {known}")
    chosen = {name: _value(text, kinds[name], f"{method.name}: {name}") for name, text in texts.items()}
    if not guard and "guard" in kinds:
        chosen["guard"] = False
    return method.config(**chosen)


def options_of(method: Method) -> dict[str, tuple[str, str]]:
    """Name of every option → (its default as text, its line of help)."""
    docs = option_docs(method.config)
    return {entry.name: (_text(entry.default), docs[entry.name]) for entry in fields(method.config)}


def _text(default: object) -> str:
    if default is MISSING or default is None:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def _value(text: str, kind: Any, what: str) -> Any:
    for one in _members(kind):
        found = _try(text, one)
        if found is not None:
            return found[0]
    raise UsageError(f"{what} is {text!r}; give {' or '.join(_words(one) for one in _members(kind))}")


def _members(kind: Any) -> tuple[Any, ...]:
    origin = get_origin(kind)
    if origin is Union or origin is types.UnionType:
        return tuple(member for part in get_args(kind) for member in _members(part))
    return (kind,)


def _try(text: str, kind: Any) -> tuple[Any] | None:
    """The value in a tuple of one, or None when `text` is not of this kind."""
    if get_origin(kind) is Literal:
        return (text,) if text in get_args(kind) else None
    if kind is types.NoneType:
        return (None,) if text.lower() == "none" else None
    if kind is bool:
        known = _TRUTH.get(text.lower())
        return None if known is None else (known,)
    try:
        return (kind(text),)
    except ValueError:
        return None


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(repr(value) for value in get_args(kind))
    return {bool: "true or false", int: "a whole number", float: "a number", types.NoneType: "none"}.get(kind, "text")


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
