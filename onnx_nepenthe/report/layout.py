"""JSON text for people to look at: a list of numbers takes one line, not one line a number."""

from __future__ import annotations

import json
from typing import Any

INDENT = "  "


def laid_out(value: Any, margin: str = "") -> str:
    """`value`, made of what JSON has, as text; strict, so no NaN and no Infinity.

    >>> print(laid_out({"each": [[1, 2], [3]], "none": {}}))
    {
      "each": [
        [1, 2],
        [3]
      ],
      "none": {}
    }

    Raises:
        ValueError: a number that is not finite.
    """
    inner = margin + INDENT
    match value:
        case dict() if value:
            lines = [f"{inner}{_scalar(str(key))}: {laid_out(entry, inner)}" for key, entry in value.items()]
            return _wrapped("{", lines, margin + "}")
        case list() if any(isinstance(entry, dict | list) for entry in value):
            return _wrapped("[", [inner + laid_out(entry, inner) for entry in value], margin + "]")
    return _scalar(value)


def _wrapped(start: str, lines: list[str], end: str) -> str:
    return "\n".join([start, ",\n".join(lines), end])


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
