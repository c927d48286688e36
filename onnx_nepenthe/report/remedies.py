"""What would help where something was left as it is: a few kinds of remedy, to group and to filter by."""

from __future__ import annotations

NOTHING = "nothing known"
FREEZE = "weights as constants (--freeze-initializers)"
_WORDS = (
    ("data", "--data"),
    ("data", "--proved-only"),
    ("data", "more data"),
    ("data", "calibrate on"),
    ("data", "measure "),
    ("a budget (--max-drop)", "--max-drop"),
    ("pruning or fine-tuning", "prune"),
    ("pruning or fine-tuning", "fine-tuning"),
    (FREEZE, "--freeze-initializers"),
    ("another device, or --latency off", "--latency off"),
    ("another export of the model", "convert the model"),
    ("another export of the model", "export the model"),
    ("another export of the model", "state the shapes"),
    ("another export of the model", "shape inference"),
    ("another export of the model", "swap the bounds"),
    ("an installation that can run it", "install "),
)
"""Remedy and words of a lift that name it."""


def remedies_of(lift: str) -> list[str]:
    """The kinds of remedy that a lift names.

    >>> remedies_of("prune it until it is linear, or pay for it with --max-drop")
    ['a budget (--max-drop)', 'pruning or fine-tuning']
    >>> remedies_of("")
    ['nothing known']
    """
    found = dict.fromkeys(remedy for remedy, words in _WORDS if words in lift)
    return list(found) or [NOTHING]
