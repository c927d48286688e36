"""Measured cost of small models, remembered by shape, in memory and on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from onnx_nepenthe import __version__
from onnx_nepenthe.errors import UnsupportedError
from onnx_nepenthe.graph.reference import chain_model
from onnx_nepenthe.graph.serial import Model
from onnx_nepenthe.latency.pairs import Clock, Feeds, Runnable, paused_gc, per_call_s, repeats_for
from onnx_nepenthe.session import SessionConfig, environment, open_session

LOG = logging.getLogger(__name__)
Build = Callable[[], tuple[Model, Feeds]]
Opener = Callable[[Model, SessionConfig], Runnable]
BLOCKS = 4
"""The cost is the smallest of this many medians: other processes only ever add time."""
SHORTEST_TIMING_S = 2e-4
CHAIN = 17
"""Operators of the chain that shows what dispatching one costs."""
SMALLEST_COST_S = 1e-8
"""Nothing is free: of two equal costs, the shorter chain wins."""
_DEFAULT = SessionConfig()
DRIVER = Path("/proc/driver/nvidia")
_MACHINE = ("cpu", "platform", "onnxruntime", "provider", "threads")


class OperatorTable:
    """Key → seconds per call, each measured once.

    Attributes:
        costs: what is known so far.
        fingerprint: machine, provider, threads and versions the costs hold for.
        is_closed: whether nothing may be measured, as the costs are another device's.
    """

    def __init__(
        self,
        config: SessionConfig = _DEFAULT,
        *,
        folder: Path | None = None,
        budget_s: float = 0.03,
        clock: Clock = time.perf_counter,
        opener: Opener = open_session,
    ) -> None:
        """Start from what `folder` remembers for this machine.

        Args:
            config: how the models are run.
            folder: where costs are kept between runs; nowhere when None.
            budget_s: seconds of timing per model.
            clock, opener: replaced in tests.
        """
        self._config = config
        self._budget_s = budget_s
        self._clock = clock
        self._opener = opener
        self._overhead_s: float | None = None
        self.fingerprint = _fingerprint(config)
        self.costs: dict[str, float] = {}
        self.is_closed = False
        digest = hashlib.sha256(self.fingerprint.encode()).hexdigest()[:16]
        self._file = None if folder is None else folder / f"operators-{digest}.json"
        self._load()

    def cost_s(self, key: str, build: Build) -> float:
        """Seconds one call of a model takes, less what calling any model takes; dispatching its operators counts.

        Args:
            key: says all that the cost depends on (operators, attributes, shapes, dtype); machine, provider and
                threads are the table's.
            build: makes the model and feeds for it; called only when the key is new.

        Raises:
            UnsupportedError: the model cannot be run, or the table was adopted and has no such key.
        """
        if key not in self.costs and self.is_closed:
            raise UnsupportedError("the latency table does not know it")
        if key not in self.costs:
            if self._overhead_s is None:
                self._overhead_s = self._measure_overhead()
            self.costs[key] = max(self._measure(*build()) - self._overhead_s, SMALLEST_COST_S)
            self._save()
        return self.costs[key]

    def to_json(self) -> str:
        """Costs and the fingerprint they hold for."""
        return json.dumps({"fingerprint": self.fingerprint, "costs": self.costs}, sort_keys=True)

    def from_json(self, text: str) -> None:
        """Add the costs that `to_json` wrote.

        Raises:
            ValueError: it is no such text, or of another machine, provider or version.
        """
        data = json.loads(text)
        if not isinstance(data, dict) or not isinstance(data.get("costs"), dict):
            raise ValueError("no table of operator costs")
        if data.get("fingerprint") != self.fingerprint:
            raise ValueError(f"costs of another machine, provider or version: {data.get('fingerprint')}")
        self.costs.update(_checked(data["costs"]))

    def adopt(self, text: str) -> None:
        """Take the costs that `to_json` wrote, wherever that was, and measure nothing any more.

        Raises:
            ValueError: it is no such text.
        """
        data = json.loads(text)
        if not isinstance(data, dict) or not isinstance(data.get("costs"), dict):
            raise ValueError("no table of operator costs")
        self.fingerprint = str(data.get("fingerprint"))
        self.costs = _checked(data["costs"])
        self.is_closed = True

    def _measure_overhead(self) -> float:
        """Seconds of a call without any operator: small operators cost little more than being dispatched."""
        feeds = {"x": np.zeros(1, np.float32)}
        one, many = (self._measure(chain_model(length), feeds) for length in (1, CHAIN))
        return max(0.0, one - max(0.0, many - one) / (CHAIN - 1))

    def _measure(self, model: Model, feeds: Feeds) -> float:
        session = self._opener(model, self._config)
        with paused_gc():
            repeats = repeats_for(session, feeds, self._clock, SHORTEST_TIMING_S)
            return min(self._block_s(session, feeds, repeats) for _ in range(BLOCKS))

    def _block_s(self, session: Runnable, feeds: Feeds, repeats: int) -> float:
        """Median seconds per call over one block of the budget; at least one timing."""
        deadline = self._clock() + self._budget_s / BLOCKS
        timings = [per_call_s(session, feeds, repeats, self._clock)]
        while self._clock() < deadline:
            timings.append(per_call_s(session, feeds, repeats, self._clock))
        return float(np.median(timings))

    def _load(self) -> None:
        if self._file is None or not self._file.exists():
            return
        try:
            self.from_json(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            LOG.warning("ignoring the latency cache %s: %s", self._file, error)

    def _save(self) -> None:
        """Write beside the final name and rename; a cache that cannot be written is only a slower next run."""
        if self._file is None:
            return
        draft = self._file.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(self.to_json(), encoding="utf-8")
            draft.replace(self._file)
        except OSError as error:
            reason = error.strerror or error
            LOG.warning(
                "the latency cache %s cannot be written (%s); costs are kept in memory only", self._file, reason
            )
            self._file = None


def _fingerprint(config: SessionConfig) -> str:
    machine = environment(config)
    facts = {name: machine[name] for name in _MACHINE}
    more: dict[str, object] = {"cores": os.cpu_count(), "optimise": config.optimise, "onnx_nepenthe": __version__}
    if config.provider != "cpu":
        more["accelerators"] = accelerators()
    return json.dumps({**facts, **more}, sort_keys=True)


def accelerators(folder: Path = DRIVER) -> list[str]:
    """Version of the driver and models of the NVIDIA devices; none where there is no such driver.

    A home folder may be shared by machines that differ in these alone.
    """
    found = [file.read_text(encoding="utf-8", errors="replace") for file in sorted(folder.glob("gpus/*/information"))]
    models = [line.partition(":")[2].strip() for text in found for line in text.splitlines() if line[:5] == "Model"]
    version = folder / "version"
    if not version.is_file():
        return models
    return [version.read_text(encoding="utf-8", errors="replace").partition("\n")[0], *models]


def _checked(costs: Mapping[str, object]) -> dict[str, float]:
    checked = {}
    for key, cost in costs.items():
        if not isinstance(cost, float) or not 0 < cost < float("inf"):
            raise ValueError(f"the cost of {key} is {cost!r}, not a positive number of seconds")
        checked[key] = cost
    return checked
