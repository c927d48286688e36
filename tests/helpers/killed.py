"""Runs the loop once as it is, and once killed again and again and resumed; says how often, and fails on a difference.

A process of its own, so that it can fork before anything has threads: `python killed.py FOLDER METHOD`.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from onnx_nepenthe.prune.checkpoint import PROGRESS, digest
from tests.helpers.pruning import RECIPE, pruned, subject, weights

SHORT = replace(RECIPE, epochs=2)


def work(folder: Path, method: str) -> str:
    """Weights, masks, and what the records say of them, in a few letters."""
    # Whoever resumes makes the network anew, with other weights; those of the checkpoint count.
    own = subject(seed=1 if (folder / PROGRESS).exists() else 0)
    result = pruned(own, method, recipe=SHORT, checkpoint=folder, resume=True)
    rounds = [(entry.accuracy, entry.removed, [epoch.loss for epoch in entry.losses]) for entry in result.rounds]
    return f"{digest(weights(own))} {result.chosen} {result.epochs} {rounds}"


def killed_at_write(number: int, before: bool) -> None:
    """This process kills itself at its `number`-th write of a checkpoint, before or after it takes its place."""
    replace, count = Path.replace, 0

    def fatal(self: Path, target: Any) -> Path:
        nonlocal count
        count += 1
        if count == number and before:
            self.write_bytes(self.read_bytes()[: self.stat().st_size // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        done = replace(self, target)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Path.replace = fatal  # type: ignore[method-assign]


def attempt(folder: Path, method: str, chance: random.Random, seconds_s: float) -> bool:
    """One process that is killed, at a write or at any moment; whether it came to its end all the same."""
    at_write, before = chance.random() < 0.6, chance.random() < 0.5
    number, delay_s = chance.randint(2, 6), chance.uniform(0.2, 0.8) * seconds_s
    child = os.fork()
    if not child:
        if at_write:
            killed_at_write(number, before)
        (folder.parent / "result").write_text(work(folder, method))
        os._exit(0)
    if not at_write:
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.waitstatus_to_exitcode(status) == 0
    return True


def main(folder: Path, method: str) -> None:
    torch.set_num_threads(1)
    expected = work(folder / "whole", method)
    started = time.perf_counter()
    assert work(folder / "again", method) == expected
    seconds_s, chance, kills = time.perf_counter() - started, random.Random(7), 0
    while not attempt(folder / "killed", method, chance, seconds_s):
        kills += 1
        assert kills < 100
    assert (folder / "result").read_text() == expected
    (folder / "kills").write_text(str(kills))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
