"""All rows of the zoo: python tests/zoo/zoo.py FOLDER writes each as a model file."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.zoo import control, files, foreign, shapes, values, weights
from tests.zoo.specimen import Specimen


def zoo() -> Iterator[Specimen]:
    """Every difficulty once."""
    yield from chain.from_iterable(part.specimens() for part in (shapes, weights, values, control, foreign, files))


def write(folder: Path) -> int:
    """Write each model to `folder`, which is made; how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    found = list(zoo())
    for specimen in found:
        name = re.sub(r"\W+", "-", specimen.name.lower()).strip("-")
        (folder / f"{name}.onnx").write_bytes(specimen.model.SerializeToString())
    return len(found)


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "zoo"))
