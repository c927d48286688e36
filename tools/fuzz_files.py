"""Damaged files through the command line.

Run: python tools/fuzz_files.py [COUNT] [FIRST_SEED] [--workers N] [--update-docs]

Models (bytes and structure), their external data, .npz, images, tensors, reports and plans. Each must end with an exit
code of 0 to 3 and at most a few lines, in bounded time, with nothing left behind. Cases run in processes of their own,
so that one which crashes native code, or never ends, is told by its seed too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from queue import Empty, Queue

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.benchmarks import readme  # noqa: E402

LONGEST_S = 120.0
LARGEST_MIB = 4096
WORK = "work"


def main() -> int:
    """Print one block per case that goes wrong, and a summary; the exit code is 1 if any did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=1000)
    parser.add_argument("first", type=int, nargs="?", default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--update-docs", action="store_true", help="put the counts into docs/faults.md")
    given = parser.parse_args()
    seeds: Queue[int] = Queue()
    for seed in range(given.first, given.first + given.count):
        seeds.put(seed)
    tally: Counter[str] = Counter()
    wrong: list[str] = []
    start = time.monotonic()
    threads = [threading.Thread(target=_serve, args=(seeds, tally, wrong)) for _ in range(given.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [f"| {kind} | {times:,} |" for kind, times in sorted(tally.items())]
    total = f"{sum(tally.values()):,} cases in {time.monotonic() - start:.0f} s; {len(wrong)} failures"
    print("\n".join([*lines, total]))
    if given.update_docs:
        table = "\n".join(["| file and exit code | cases |", "|---|---|", *lines])
        readme.replace("files", f"{table}\n\n{total}.", ROOT / "docs" / "faults.md")
    return int(bool(wrong))


def _serve(seeds: Queue[int], tally: Counter[str], wrong: list[str]) -> None:
    """Feed one worker after another."""
    worker: _Worker | None = None
    while True:
        try:
            seed = seeds.get_nowait()
        except Empty:
            break
        worker = worker or _Worker()
        said = worker.ask(seed)
        if said.startswith("ok "):
            tally[said[3:]] += 1
            continue
        tally["wrong"] += 1
        wrong.append(said)
        print(f"seed {seed}: {said}", flush=True)
        if not worker.lives:
            worker = None
    if worker is not None:
        worker.end()


class _Worker:
    """A process that runs cases."""

    def __init__(self) -> None:
        words = [sys.executable, __file__, WORK]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", cwd=ROOT
        )
        self.lives = True

    def ask(self, seed: int) -> str:
        """What became of a case."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(LONGEST_S, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(f"{seed}\n")
            self._process.stdin.flush()
            said = self._process.stdout.readline().strip()
        except BrokenPipeError:
            said = ""
        finally:
            timer.cancel()
        if said:
            return said.replace("\\n", "\n")
        self.lives = False
        return f"the process ended with {self._process.wait()} (-9: killed after {LONGEST_S:.0f} s, or out of memory)"

    def end(self) -> None:
        """Close it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def work() -> int:
    """Run the cases whose seeds come in; one line each goes out."""
    import resource  # noqa: PLC0415 — not on every system, and needed in workers only

    from tests.helpers.check_files import check_in_new_folder  # noqa: PLC0415

    out, sys.stdout = sys.stdout, sys.stderr
    resource.setrlimit(resource.RLIMIT_DATA, (LARGEST_MIB << 20, LARGEST_MIB << 20))
    with tempfile.TemporaryDirectory(prefix="fuzz-files-") as folder:
        for line in sys.stdin:
            try:
                said = f"ok {check_in_new_folder(int(line), Path(folder))}"
            except Exception as error:
                said = f"{type(error).__name__}: {error}".replace("\n", "\\n")
            out.write(said + "\n")
            out.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(work() if sys.argv[1:] == [WORK] else main())
