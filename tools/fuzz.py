"""Collapse random graphs and compare each with itself: python tools/fuzz.py [COUNT] [FIRST_SEED]."""

from __future__ import annotations

import random
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.helpers.check_random import Tally, check_sample, draw_sample


def main() -> int:
    """Print one line per graph that goes wrong, and a summary; the exit code is 1 if any did."""
    count, first = (int(argument) for argument in [*sys.argv[1:3], *("1000", "0")[len(sys.argv[1:3]) :]])
    tally, wrong = Tally(), 0
    for seed in range(first, first + count):
        try:
            check_sample(draw_sample(random.Random(seed)), tally)
        except Exception as error:
            wrong += 1
            at = traceback.extract_tb(error.__traceback__)[-1]
            message = " ".join(str(error).split())[:200]
            print(f"seed {seed}: {type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {message}", flush=True)
    print(f"{tally}; {wrong} failures")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
