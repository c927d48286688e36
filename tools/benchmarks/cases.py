"""The models that optimisers are compared on: the bundled ones, nets made from a seed, and any file given."""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from benchmarks.composing import NETS

ROOT = Path(__file__).resolve().parents[2]
DATA = {"digits-": ROOT / "models" / "digits-calibration.npz"}
"""Start of a bundled model's name → the data that go with it."""


@dataclass(frozen=True, eq=False)
class Case:
    """One model.

    Attributes:
        name: for the table.
        load: (model, calibration data or None).
        is_made: it is no file.
    """

    name: str
    load: Callable[[], tuple[onnx.ModelProto, Any]]
    is_made: bool = False


def cases(given: Iterable[str], only: list[str], seed: int) -> list[Case]:
    """The bundled models, the nets made from `seed`, and the files that `given` names; without repeats.

    Args:
        given: paths or glob patterns.
        only: patterns, one of which a name must match; all when empty.
        seed: of the nets.

    Raises:
        FileNotFoundError: a path or pattern that names no file.
    """
    files = [*sorted((ROOT / "models").glob("*.onnx")), *_found(given)]
    found = {path.resolve(): _from_file(path) for path in files}.values()
    made = [_from_net(name, seed) for name in NETS]
    return [case for case in (*found, *made) if not only or any(fnmatch.fnmatch(case.name, p) for p in only)]


def _found(given: Iterable[str]) -> Iterator[Path]:
    for pattern in given:
        names = sorted(glob.glob(pattern))
        if not names:
            raise FileNotFoundError(f"{pattern}: there is no such file")
        yield from map(Path, names)


def _from_file(path: Path) -> Case:
    is_bundled = path.resolve().parent == ROOT / "models"
    data = next((data for start, data in DATA.items() if is_bundled and path.name.startswith(start)), None)
    return Case(path.stem, lambda: (onnx.load(path), data))


def _from_net(name: str, seed: int) -> Case:
    def load() -> tuple[onnx.ModelProto, Any]:
        made = NETS[name](seed)
        return made.model, made.samples

    return Case(name, load, is_made=True)
