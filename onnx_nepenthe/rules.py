"""The rules by name: what `--list-rules` shows and `--skip-rule` takes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from onnx_nepenthe.activations import ACTIVATIONS, PATTERNS
from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.ops import READERS

CUT_CHANNELS = "cut-channels"
"""Takes constant channels out of the layers that stay."""
BODIES = "subgraph-bodies"
"""Collapses what is inside If, Loop and Scan."""


def rules() -> Mapping[str, tuple[str, ...]]:
    """Kind of rule → names, in the order they are registered.

    >>> [kind for kind in rules()]
    ['rectifier', 'pattern', 'operator', 'stage']
    """
    return {
        "rectifier": tuple(ACTIVATIONS),
        "pattern": tuple(PATTERNS),
        "operator": tuple(READERS),
        "stage": (CUT_CHANNELS, BODIES),
    }


def check_rules(names: Iterable[str]) -> frozenset[str]:
    """The names as a set.

    Raises:
        UsageError: one of them names no rule; says which ones come close.
    """
    known = {name.lower(): name for every in rules().values() for name in every}
    chosen = frozenset(names)
    for name in sorted(chosen - set(known.values())):
        close = [known[match] for match in difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)]
        hint = f"did you mean {' or '.join(close)}?" if close else "--list-rules names them all"
        raise UsageError(f"there is no rule {name!r}; {hint}")
    return chosen
