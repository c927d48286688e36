"""What options take, as functions from text: ranges, sizes, lists of numbers, rules."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import click

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.rules import check_rules
from onnx_nepenthe.run import EVERY_INPUT

Range = tuple[str, tuple[float, float]]


def input_range(text: str) -> Range:
    """NAME=LOW:HIGH for one input, LOW:HIGH for all.

    >>> input_range("image:0=-1:1"), input_range("0:255")
    (('image:0', (-1.0, 1.0)), ('*', (0.0, 255.0)))
    """
    name, equals, ends = text.rpartition("=")
    low, _, high = ends.rpartition(":")
    try:
        found = float(low), float(high)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not LOW:HIGH or NAME=LOW:HIGH, such as 0:1 or image=-1:1") from None
    if not found[0] <= found[1]:
        raise click.BadParameter(f"{text!r} holds no number; LOW must not be above HIGH")
    return (name if equals else EVERY_INPUT), found


def image_size(text: str) -> tuple[int, int]:
    """(height, width).

    >>> image_size("224x320")
    (224, 320)
    """
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None or not (int(found[1]) and int(found[2])):
        raise click.BadParameter(f"{text!r} is not HEIGHTxWIDTH, such as 224x224")
    return int(found[1]), int(found[2])


def counts(smallest: int) -> Callable[[str], tuple[int, ...]]:
    """One whole number or several with commas between, none below `smallest` and none twice.

    >>> counts(1)("1,8")
    (1, 8)
    """

    def read(text: str) -> tuple[int, ...]:
        parts = [part.strip() for part in str(text).split(",")]
        found = tuple(dict.fromkeys(int(part) for part in parts if re.fullmatch(r"[0-9]{1,9}", part)))
        if len(found) < len(parts) or min(found) < smallest:
            raise click.BadParameter(
                f"{text!r} is not a list of different whole numbers from {smallest} on, such as 1,8"
            )
        return found

    return read


def numbers(text: str) -> tuple[float, ...]:
    """One number, or one per channel with commas between.

    >>> numbers("0.5"), numbers("0.485,0.456")
    ((0.5,), (0.485, 0.456))
    """
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers, such as 0.485,0.456,0.406") from None
    if not all(math.isfinite(number) for number in found):
        raise click.BadParameter(f"{text!r} holds a number that is not finite")
    return found


def rule(text: str) -> str:
    """The name of a rule."""
    try:
        check_rules([text])
    except UsageError as error:
        raise click.BadParameter(str(error)) from None
    return text
