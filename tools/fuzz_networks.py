"""Collapse random networks, compare each with itself: python tools/fuzz_networks.py [COUNT] [FIRST_SEED] [--order].

--order puts onnxslim, onnxsim and the version converter, in turn, before and after ours, and compares again.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.helpers.check_networks import Tally, check_network
from tests.helpers.check_order import OTHERS, check_order
from tests.helpers.networks import ARCHITECTURES, draw_network

LATENCIES = ("off", "macs")
OLD_OPSET = 13


def main() -> int:
    """Print one line per network that goes wrong, and a summary; the exit code is 1 if any did.

    Architectures come in turn, with a seed each; every second one is priced by multiply-adds.
    """
    given = _arguments()
    tally, wrong = Tally(), 0
    names = list(ARCHITECTURES)
    for turn in range(given.first, given.first + given.count):
        seed, at = divmod(turn, len(names))
        latency = LATENCIES[(seed + at) % len(LATENCIES)]
        try:
            drawn = draw_network(names[at], seed, opset=OLD_OPSET if given.order else None)
            check_network(drawn, latency, tally)
            if given.order:
                check_order(drawn, OTHERS[list(OTHERS)[(turn + seed) % len(OTHERS)]])
        except Exception as error:
            wrong += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            message = " ".join(str(error).split())[:200]
            print(f"{names[at]} {seed} {latency}: {type(error).__name__} at {where}: {message}", flush=True)
    for (name, kind, reason), times in sorted(tally.reasons.items()):
        print(f"{name}: {times} forced {kind} stay: {reason}")
    print(f"{tally}; {wrong} failures")
    return int(wrong > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=240)
    parser.add_argument("first", type=int, nargs="?", default=0)
    parser.add_argument("--order", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
