"""Dominators of values in a graph, found in one pass because values come in topological order."""

from __future__ import annotations

from collections.abc import Mapping


def nearest_common(parents: Mapping[str, str], depth: Mapping[str, int], a: str | None, b: str | None) -> str | None:
    """The nearest value that all paths to `a` and all paths to `b` pass through; None when there is none.

    Args:
        parents: value → immediate dominator, where there is one.
        depth: number of dominators, 0 where it is missing.
        a, b: values; None for one without dominator.

    >>> nearest_common({"p": "x", "q": "x"}, {"p": 1, "q": 1}, "p", "q")
    'x'
    """
    while a is not None and b is not None and a != b:
        if depth.get(a, 0) >= depth.get(b, 0):
            a = parents.get(a)
        else:
            b = parents.get(b)
    return a if b is not None else None
