"""Collapse random graphs and compare each with itself: python tools/fuzz.py [COUNT] [FIRST_SEED].

--branches also puts part of each graph into the branches of an If, and collapses those.
--update-readme puts the counts into README.md.
"""

from __future__ import annotations

import argparse
import random
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.helpers.branched import check_branched
from tests.helpers.check_random import Tally, check_sample, draw_sample
from tools.benchmarks import readme


def main() -> int:
    """Print one line per graph that goes wrong, and a summary; the exit code is 1 if any did."""
    given = _arguments()
    tally, wrong, branched = Tally(), 0, 0
    for seed in range(given.first, given.first + given.count):
        try:
            check_sample(draw_sample(random.Random(seed)), tally)
            branched += given.branches and check_branched(seed) is not None
        except Exception as error:
            wrong += 1
            at = traceback.extract_tb(error.__traceback__)[-1]
            message = " ".join(str(error).split())[:200]
            print(f"seed {seed}: {type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {message}", flush=True)
    inside = f"; {branched:,} of them once more in branches" if given.branches else ""
    summary = f"{tally}{inside}; {wrong} failures"
    print(summary)
    if given.update_readme:
        readme.replace("graphs", f"Random graphs of single operators: {summary}.")
    return int(wrong > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=1000)
    parser.add_argument("first", type=int, nargs="?", default=0)
    parser.add_argument("--branches", action="store_true")
    parser.add_argument("--update-readme", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
