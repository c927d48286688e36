"""How much a proof may cost: work that can be counted, so that the result is the same on a busy machine, and time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from math import inf


class OutOfEffortError(Exception):
    """The work or the time is spent."""


@dataclass(eq=False)
class Effort:
    """What is left of it.

    Attributes:
        limit_s: seconds from now; a safety that should not be what ends a proof, since it depends on the machine.
        work: multiply-adds.
        spent: of `work`, so far.
        stopped: which of the two was spent, as a sentence; "" while neither is.
    """

    limit_s: float
    work: float = inf
    spent: float = 0.0
    stopped: str = ""
    deadline_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline_s = time.monotonic() + self.limit_s

    def spend(self, work: float) -> None:
        """Take `work` off.

        Raises:
            OutOfEffortError: there is not so much left, or no time.
        """
        self.spent += work
        if self.spent > self.work:
            self._stop(
                f"proving by linear relaxation ended at its limit of {self.work:.2g} multiply-adds (the same on every "
                "machine); --prove-work raises it"
            )
        if time.monotonic() > self.deadline_s:
            self._stop(
                f"proving by linear relaxation was cut off after {self.limit_s:g} s (another run may get further); "
                "--prove-budget raises that"
            )

    def _stop(self, why: str) -> None:
        self.stopped = why
        raise OutOfEffortError(why)
