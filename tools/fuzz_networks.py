"""Collapse random networks, compare each with itself: python tools/fuzz_networks.py [COUNT] [FIRST_SEED].

--order puts onnxslim, onnxsim and the version converter, in turn, before and after ours, and compares again.
--measured accepts only what is faster on this machine, and times every result against its input once more.
--update-readme puts the counts into README.md.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.helpers.check_networks import Tally, check_network, is_slower
from tests.helpers.check_order import OTHERS, check_order
from tests.helpers.networks import ARCHITECTURES, Drawn, draw_network
from tools.benchmarks import readme

LATENCIES = ("off", "macs")
OLD_OPSET = 13
COLUMNS = ("networks", "collapsed", "rectifiers", "forced", "removed", "refused", "before", "after", "failures")
HEADINGS = (
    "architecture",
    "networks",
    "collapsed",
    "rectifiers",
    "made linear",
    "removed",
    "stay, with the reason",
    "operators",
    "after",
    "failures",
)


def main() -> int:
    """Print one line per network that goes wrong, and a summary; the exit code is 1 if any did.

    Architectures come in turn, with a seed each; every second one is priced by multiply-adds.
    """
    given = _arguments()
    tally = Tally()
    names = list(ARCHITECTURES)
    for turn in range(given.first, given.first + given.count):
        seed, at = divmod(turn, len(names))
        latency = "measured" if given.measured else LATENCIES[(seed + at) % len(LATENCIES)]
        tally.counts[names[at], "failures"] += 0
        try:
            drawn = draw_network(names[at], seed, opset=OLD_OPSET if given.order else None)
            _check(drawn, latency, list(OTHERS)[(turn + seed) % len(OTHERS)] if given.order else "", tally)
        except Exception as error:
            tally.counts[names[at], "failures"] += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            message = " ".join(str(error).split())[:200]
            print(f"{names[at]} {seed} {latency}: {type(error).__name__} at {where}: {message}", flush=True)
    for (name, kind, reason), times in sorted(tally.reasons.items()):
        print(f"{name}: {times} forced {kind} stay: {reason}")
    table = _table(tally, names)
    print(table)
    if given.update_readme:
        readme.replace("networks", table)
    return int(_total(tally, "failures", names) > 0)


def _check(drawn: Drawn, latency: str, other: str, tally: Tally) -> None:
    after = check_network(drawn, latency, tally)
    if other:
        check_order(drawn, OTHERS[other])
    if latency == "measured" and is_slower(drawn, after):
        raise AssertionError("slower than its input, timed anew")


def _table(tally: Tally, names: list[str]) -> str:
    lines = [f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}"]
    for title, of in (*((name, [name]) for name in names), ("all", names)):
        cells = (f"{_total(tally, column, of):,}" for column in COLUMNS)
        lines.append(f"| {' | '.join((title, *cells))} |")
    return "\n".join(lines)


def _total(tally: Tally, what: str, names: list[str]) -> int:
    return sum(tally.counts[name, "graphs" if what == "networks" else what] for name in names)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=240)
    parser.add_argument("first", type=int, nargs="?", default=0)
    parser.add_argument("--order", action="store_true")
    parser.add_argument("--measured", action="store_true")
    parser.add_argument("--update-readme", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
