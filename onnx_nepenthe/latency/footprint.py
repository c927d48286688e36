"""How much memory a model takes to run, measured in a process that does nothing else."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from onnx_nepenthe.latency.pairs import WARM_UP_CALLS
from onnx_nepenthe.session import SessionConfig, check_provider, open_session

log = logging.getLogger(__name__)
Feeds = Mapping[str, npt.NDArray[Any]]
TIMEOUT_S = 600.0
_CODE = "from onnx_nepenthe.latency.footprint import main; main()"
_STATUS, _REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""What the kernel takes there to forget the highest resident set so far."""


@dataclass(frozen=True)
class Footprint:
    """Resident memory of a process that makes a session and runs it.

    Attributes:
        peak_bytes: the most that making the session and running it added to what the process had before.
        process_bytes: the most the whole process had, with Python and the libraries.

    Source: proc(5), VmRSS and VmHWM of /proc/self/status.
    """

    peak_bytes: int
    process_bytes: int


def footprint_of(path: str | os.PathLike[str], feeds: Feeds, config: SessionConfig) -> Footprint | None:
    """Run the model a few times in a process of its own.

    In one process the second model would find memory that the first one left, and the highest resident set only grows.

    Args:
        path: of the model.
        feeds: one array per input.
        config: as it is timed.

    Returns:
        None, with a warning in the log, where it cannot be measured: not on Linux, or the process failed.
    """
    if not _STATUS.is_file():
        log.warning("peak memory is not measured: this system has no %s", _STATUS)
        return None
    places = os.pathsep.join(place for place in sys.path if place)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CODE],
            input=pickle.dumps((os.fspath(path), dict(feeds), config)),
            env=os.environ | {"PYTHONPATH": places},
            capture_output=True,
            timeout=TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("peak memory of %s is not measured: its process failed (%s)", path, type(error).__name__)
        return None
    return Footprint(**json.loads(done.stdout))


def main() -> None:
    """The process of its own: what to run comes in on stdin, as its parent pickled it, and the figures go out."""
    path, feeds, config = pickle.loads(sys.stdin.buffer.read())
    sys.stdout.write(json.dumps(asdict(_measured(path, feeds, config))))


def _measured(path: str, feeds: Feeds, config: SessionConfig) -> Footprint:
    check_provider(config.provider)
    try:
        _REFERENCES.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        log.debug("the peak of loading the libraries counts: %s cannot be written", _REFERENCES)
    before = resident_bytes("VmRSS")
    session = open_session(Path(path), config)
    for _ in range(WARM_UP_CALLS):
        session.run(feeds)
    peak = resident_bytes("VmHWM")
    return Footprint(max(0, peak - before), peak)


def resident_bytes(field: str) -> int:
    """VmRSS, what the process has now, or VmHWM, the most it had; bytes.

    Raises:
        KeyError: the kernel does not say.
    """
    pairs = (line.partition(":") for line in _STATUS.read_text(encoding="ascii").splitlines())
    return 1024 * int({name: text for name, _, text in pairs}[field].split()[0])
