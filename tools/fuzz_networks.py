"""Collapse random whole networks, compare each with itself: python tools/fuzz_networks.py [COUNT] [FIRST_SEED]."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.helpers.check_networks import Tally, check_network
from tests.helpers.networks import ARCHITECTURES, draw_network

LATENCIES = ("off", "macs")


def main() -> int:
    """Print one line per network that goes wrong, and a summary; the exit code is 1 if any did.

    Architectures come in turn, with a seed each; every second one is priced by multiply-adds.
    """
    count, first = (int(argument) for argument in [*sys.argv[1:3], *("240", "0")[len(sys.argv[1:3]) :]])
    tally, wrong = Tally(), 0
    names = list(ARCHITECTURES)
    for turn in range(first, first + count):
        seed, at = divmod(turn, len(names))
        latency = LATENCIES[(seed + at) % len(LATENCIES)]
        try:
            check_network(draw_network(names[at], seed), latency, tally)
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


if __name__ == "__main__":
    raise SystemExit(main())
