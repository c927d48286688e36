"""Which samples calibrate, tune and verify, and which are taken when only some may be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal, TypeVar

from onnx_nepenthe.errors import UsageError

T = TypeVar("T")
Part = Literal["all", "calibration", "verification", "fitting", "tuning"]
PARTS: tuple[Part, ...] = ("all", "calibration", "verification", "fitting", "tuning")
BLOCK = 5
"""One sample of every block verifies, the other four calibrate; of those one fits and three tune."""


def split(samples: Iterable[T], part: Part, seed: int) -> Iterator[T]:
    """The samples of `part`, in order.

    One sample of every five consecutive ones verifies. The others calibrate; where decisions cost accuracy, one of
    them fits and the rest tune. Taking it from every block keeps class-sorted data
    stratified; hashing its position within the block keeps labels with a period from falling in step.
    A shorter last block takes the position modulo its length; a lone sample calibrates.

    >>> sorted([*split("abcdefg", "calibration", 0), *split("abcdefg", "verification", 0)])
    ['a', 'b', 'c', 'd', 'e', 'f', 'g']
    """
    if part == "all":
        yield from samples
        return
    for number, block in enumerate(_blocks(samples)):
        verifies = _position("split", seed, number, BLOCK) % len(block)
        if number == 0 and len(block) == 1:
            verifies = -1
        shift = 1 + _position("fit", seed, number, BLOCK - 1) % max(1, len(block) - 1)
        fits = (verifies + shift) % len(block) if len(block) > 1 else -1
        yield from (sample for at, sample in enumerate(block) if _belongs(at, part, verifies, fits))


def _belongs(at: int, part: Part, verifies: int, fits: int) -> bool:
    match part:
        case "verification":
            return at == verifies
        case "fitting":
            return at == fits
        case "tuning":
            return at not in (verifies, fits)
    return at != verifies


def part_size(total: int, part: Part) -> int:
    """How many of `total` samples `split` gives for `part`.

    >>> part_size(11, "verification"), part_size(11, "calibration"), part_size(1, "verification")
    (3, 8, 0)
    """
    verification = 0 if total == 1 else -(-total // BLOCK)
    fitting = total // BLOCK + (total % BLOCK > 1)
    sizes = {"all": total, "verification": verification, "calibration": total - verification, "fitting": fitting}
    return sizes[part] if part in sizes else total - verification - fitting


def thin(samples: Iterable[T], total: int | None, limit: int | None, seed: int) -> Iterator[T]:
    """At most `limit` of the samples, in order.

    When their number is known they come from everywhere, one of each of `limit` equal stretches at a hashed
    place (the first samples of class folders would all be of one class); otherwise they are the first ones.

    >>> len(list(thin(range(1000), 1000, 7, seed=0))), list(thin(range(1000), None, 3, seed=0))
    (7, [0, 1, 2])
    """
    if limit is None or (total is not None and total <= limit):
        return iter(samples)
    if total is None:
        return islice(samples, limit)
    return _spread(samples, total, limit, seed)


def check_part(part: str) -> None:
    """Raises UsageError when there is no such part."""
    if part not in PARTS:
        raise UsageError(f"no part of the data is called {part!r}; there are {', '.join(PARTS)}")


def _spread(samples: Iterable[T], total: int, limit: int, seed: int) -> Iterator[T]:
    taken = (at + _position("limit", seed, number, end - at) for number, (at, end) in _stretches(total, limit))
    following = next(taken)
    for at, sample in enumerate(samples):
        if at != following:
            continue
        yield sample
        wanted = next(taken, None)
        if wanted is None:
            return
        following = wanted


def _stretches(total: int, limit: int) -> Iterator[tuple[int, tuple[int, int]]]:
    return ((number, (number * total // limit, (number + 1) * total // limit)) for number in range(limit))


def _position(purpose: str, seed: int, number: int, length: int) -> int:
    digest = hashlib.blake2b(f"{purpose}:{seed}:{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % length


def _blocks(samples: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(samples)
    while block := list(islice(iterator, BLOCK)):
        yield block
