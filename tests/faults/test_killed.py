"""Killed at every stage: no half file, the input as it was, and the next run finds nothing in its way."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx_nepenthe.graph.load import load
from tests.helpers.build import Builder
from tests.helpers.processes import KILL, POSIX, ended, run, running, stopping_in

pytestmark = pytest.mark.skipif(not POSIX, reason="signals of POSIX")
WORDS = ("collapse", "m.onnx", "-o", "out.onnx", "--latency", "off", "--no-cache", "-q")
STAGES = {
    "checking what was written": ("onnx_nepenthe.graph.save", "_check_written", 1),
    "before the new data come": ("os", "replace", 3),
    "before the new model comes": ("os", "replace", 4),
}
WORDED = {signal.SIGINT: (130, "onnx-nepenthe: interrupted\n"), signal.SIGTERM: (143, "onnx-nepenthe: terminated\n")}


def large_case(folder: Path) -> bytes:
    """`m.onnx` with its weights in `m.onnx.data`, and an older result of the same kind; the bytes of the model."""
    g = Builder(np.random.default_rng(0))
    value = g.gemm(g.gemm("x", (4, 4)), (4, 4))
    model = g.model({"x": ["N", 4]}, [g.gemm(g.node("Sigmoid", value), (4, 300))])
    for name in ("m.onnx", "out.onnx"):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.producer_version = name
        onnx.save(copy, folder / name, save_as_external_data=True, location=f"{name}.data", size_threshold=0)
    return (folder / "m.onnx").read_bytes()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "started"}


@pytest.mark.parametrize("stage", STAGES)
def test_killed_outright(tmp_path: Path, stage: str) -> None:
    large_case(tmp_path)
    before = files(tmp_path)
    with running(WORDS, tmp_path, stopping_in(*STAGES[stage])) as process:
        code, stdout, _ = ended(process, KILL)
    assert (code, stdout) == (-KILL, "")
    after = files(tmp_path)
    is_there = "out.onnx" in after
    # What is there is whole; an old model is never beside new data.
    assert {name: after[name] for name in after if is_there or not name.startswith("out")}.items() <= before.items()
    assert {"m.onnx", "m.onnx.data"} <= after.keys()
    assert is_there == (stage == "checking what was written")
    if stage != "before the new data come":
        return
    done = run(WORDS, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert load(tmp_path / "out.onnx").producer_version == "m.onnx"
    assert {path.name for path in tmp_path.iterdir()} == {*before, "started"}


@pytest.mark.parametrize(
    ("stage", "number"),
    [("checking what was written", signal.SIGINT), ("before the new model comes", signal.SIGTERM)],
)
def test_asked_to_end(tmp_path: Path, stage: str, number: signal.Signals) -> None:
    large_case(tmp_path)
    before = files(tmp_path)
    with running(WORDS, tmp_path, stopping_in(*STAGES[stage])) as process:
        code, stdout, stderr = ended(process, number)
    assert ((code, stderr), stdout) == (WORDED[number], "")
    assert files(tmp_path) == before
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


LONG = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1] x) => (float[1] y) {
  side = Constant <value_ints: ints = [1600, 1600]> ()
  a = Expand (x, side)
  top = Constant <value_int: int = 1000000> ()
  yes = Constant <value = bool {1}> ()
  b = Loop (top, yes, a) <body = body (int64 i, bool go, float[1600, 1600] v) => (bool on, float[1600, 1600] w) {
    on = Identity (go)
    w = MatMul (v, v)
  }>
  r = Relu (b)
  low = ReduceMean <keepdims = 0> (r)
  one = Constant <value_ints: ints = [1]> ()
  y = Reshape (low, one)
}
"""
"""Nothing that ends by itself."""
FEEDS = """
import pathlib, threading, numpy
def feeds():
    threading.Timer(0.5, pathlib.Path("started").touch).start()
    while True:
        yield {"x": numpy.ones(1, numpy.float32)}
"""
"""Says that it has started when the run of the first feed has."""


def test_ctrl_c_ends_a_run_that_would_never_end(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(onnx.parser.parse_model(LONG).SerializeToString())
    (tmp_path / "slow.py").write_text(FEEDS, encoding="utf-8")
    with running(("inspect", "m.onnx", "--data", "slow:feeds", "--whole-feeds"), tmp_path) as process:
        start = time.monotonic()
        assert ended(process, signal.SIGINT) == (130, "", "onnx-nepenthe: interrupted\n")
        assert time.monotonic() - start < 30


INTERRUPTED_IMPORT = """
import os, sys, threading
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name.startswith("onnxruntime.capi"):
            sys.meta_path.remove(self)
            threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGINT)).start()
sys.meta_path.insert(0, Interrupt())
"""


def test_ctrl_c_while_onnxruntime_is_loaded(tmp_path: Path) -> None:
    large_case(tmp_path)
    done = run(("inspect", "m.onnx"), tmp_path, INTERRUPTED_IMPORT)
    assert (done.returncode, done.stdout, done.stderr.lstrip()) == (130, "", "onnx-nepenthe: interrupted\n")


SWALLOWED = """
import os
import onnx_nepenthe.inspection
from onnx_nepenthe.errors import UnsupportedError
def fail(*rest, **more):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            pass
    except KeyboardInterrupt:
        {then}
onnx_nepenthe.inspection.view_from_model = fail
"""


def test_an_interrupt_that_becomes_another_error_is_still_one(tmp_path: Path) -> None:
    large_case(tmp_path)
    then = 'raise UnsupportedError("onnxruntime cannot be loaded")'
    done = run(("inspect", "m.onnx"), tmp_path, SWALLOWED.format(then=then))
    assert (done.returncode, done.stdout, done.stderr.lstrip()) == (130, "", "onnx-nepenthe: interrupted\n")


def test_an_interrupt_that_is_lost_ends_it_all_the_same(tmp_path: Path) -> None:
    large_case(tmp_path)
    lost = SWALLOWED.format(then="import time; time.sleep(600)")
    done = run(("inspect", "m.onnx"), tmp_path, lost)
    assert (done.returncode, done.stdout, done.stderr.lstrip()) == (130, "", "onnx-nepenthe: interrupted\n")
