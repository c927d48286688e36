"""Run one of the benchmarks in tools/benchmarks: tools/bench.py NAME [ARGUMENTS]."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "benchmarks"
sys.path.insert(0, str(FOLDER.parent))


def main(arguments: list[str]) -> int:
    """Hand `arguments` on to the benchmark that the first one names; its exit code is ours."""
    names = sorted(file.stem for file in FOLDER.glob("*.py") if "\ndef main(" in file.read_text(encoding="utf-8"))
    usage = f"usage: tools/bench.py NAME [ARGUMENTS], with NAME one of {', '.join(names)}"
    if arguments[:1] in (["-h"], ["--help"]):
        print(usage)
        return 0
    if not arguments or arguments[0] not in names:
        print(usage, file=sys.stderr)
        return 2
    return importlib.import_module(f"benchmarks.{arguments[0]}").main(arguments[1:]) or 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
