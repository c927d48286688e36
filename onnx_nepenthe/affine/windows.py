"""Parts of arrays whose last axes are space."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def behind(window: Iterable[int | slice]) -> Any:
    """The index of the trailing axes of an array."""
    return (..., *window)
