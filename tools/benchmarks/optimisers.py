"""The graph optimisers that are compared, each run in a process of its own: a crash or a hang is a result too."""

from __future__ import annotations

import importlib.metadata
import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import onnx

from onnx_nepenthe.options import LatencyMode

OURS = "onnx-nepenthe"


@dataclass(frozen=True, eq=False)
class Job:
    """One model to be optimised.

    Attributes:
        model: serialised.
        data: as `onnx_nepenthe.collapse` takes them; the other tools have no use for any.
        threads, batch, latency, seed: of our run.
    """

    model: bytes
    data: Any = None
    threads: int = 0
    batch: int = 1
    latency: LatencyMode = "measured"
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Result:
    """What came of it.

    Attributes:
        model: serialised; None when the tool failed.
        seconds: from the parsed model to the result, importing the tool included.
        failure: why there is none, in one line.
    """

    model: bytes | None
    seconds: float = 0.0
    failure: str = ""


def _onnxslim(model: onnx.ModelProto, job: Job) -> onnx.ModelProto:
    import onnxslim  # noqa: PLC0415 — each tool is imported only where it runs

    return onnxslim.slim(model)


def _onnxsim(model: onnx.ModelProto, job: Job) -> onnx.ModelProto:
    import onnxsim  # noqa: PLC0415

    simplified, is_right = onnxsim.simplify(model)
    if not is_right:
        raise ValueError("its own check of the result failed")
    return simplified


def _onnxscript(model: onnx.ModelProto, job: Job) -> onnx.ModelProto:
    import onnxscript.optimizer  # noqa: PLC0415
    import onnxscript.rewriter  # noqa: PLC0415

    return onnxscript.rewriter.rewrite(onnxscript.optimizer.optimize(model))


def _ours(model: onnx.ModelProto, job: Job) -> onnx.ModelProto:
    import onnx_nepenthe  # noqa: PLC0415

    return onnx_nepenthe.collapse(
        model,
        data=job.data,
        threads=job.threads,
        latency_batch=job.batch,
        latency=job.latency,
        seed=job.seed,
        freeze_initializers=True,  # as onnxslim and onnxsim do without being asked
    )


OPTIMISERS: dict[str, Callable[[onnx.ModelProto, Job], onnx.ModelProto]] = {
    "onnxslim": _onnxslim,
    "onnxsim": _onnxsim,
    "onnxscript": _onnxscript,
    OURS: _ours,
}


def versions() -> dict[str, str]:
    """Tool → its version."""
    return {name: importlib.metadata.version(name) for name in OPTIMISERS}


def run(name: str, job: Job, limit_s: float) -> Result:
    """Run one tool on one model, for at most `limit_s` seconds."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, name, job), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(limit_s):
            return Result(None, failure=f"not done after {limit_s:g} s")
        found: Result = receiver.recv()
        return found
    except EOFError:
        process.join()
        return Result(None, failure=f"the process died (exit code {process.exitcode})")
    finally:
        process.kill()
        process.join()


def _serve(sender: Connection, name: str, job: Job) -> None:
    logging.disable(logging.CRITICAL)
    # Tools print, from C++ too; the benchmark's own output is its table.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    try:
        model = onnx.load_from_string(job.model)
        start = time.perf_counter()
        made = OPTIMISERS[name](model, job)
        sender.send(Result(made.SerializeToString(), time.perf_counter() - start))
    except Exception as error:
        sender.send(Result(None, failure=one_line(error)))


def one_line(error: BaseException) -> str:
    """Kind and first line of what went wrong.

    >>> one_line(ValueError("no such axis\\nstack: …"))
    'ValueError: no such axis'
    """
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:160]}".rstrip(": ")
