"""One damaged file through the command line: one line and a small exit code, whatever is in it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from onnx_nepenthe.cli import app
from tests.helpers.mutate import damage, disturb, mutated
from tests.helpers.outcomes import save_case
from tests.zoo.zoo import zoo

CODES = (0, 1, 2, 3)
LINES = 8
"""On stderr: warnings, and the error."""


@dataclass(frozen=True)
class Damaged:
    """What is run: words of the command, in a folder, and what it may write."""

    kind: str
    words: Sequence[str]
    writes: frozenset[str] = frozenset()


def check_file(seed: int, folder: Path) -> str:
    """Run one case and return "kind code".

    Raises:
        AssertionError: a traceback, another exit code, a file changed or left behind.
    """
    rng = random.Random(seed)
    case = rng.choice(KINDS)(rng, folder)
    before = _state(folder)
    code, out, err = run(case.words)
    said = f"{case.kind} {seed}: {' '.join(case.words)} → {code}\n{err[-2000:]}"
    assert code in CODES, said
    assert "Traceback" not in out + err, said
    assert "this is a bug" not in err, said
    assert len(err.splitlines()) <= LINES, said
    assert max(map(len, err.splitlines()), default=0) <= 4000, said
    after = _state(folder)
    # The record of an error is written where the report would be.
    allowed = case.writes if code == 0 else case.writes & {"r.json"}
    assert {name: digest for name, digest in after.items() if name not in allowed} == before, said
    if code == 0 and "out.onnx" in case.writes:
        assert "out.onnx" in after, said
    return f"{case.kind} {code}"


def run(words: Sequence[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app.main(list(words))
        except SystemExit as end:
            code = end.code
    return int(code or 0), out.getvalue(), err.getvalue()


def _state(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {str(path.relative_to(folder)): _told(path) for path in paths}


def _told(path: Path) -> str:
    return os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _models() -> tuple[onnx.ModelProto, ...]:
    return tuple(specimen.model for specimen in zoo())


@cache
def _sound() -> tuple[bytes, bytes]:
    """A model, and data for it."""
    with tempfile.TemporaryDirectory() as folder:
        model, data = save_case(Path(folder))
        return model.read_bytes(), Path(data).read_bytes()


OPTIONS = (
    *(("--freeze-initializers",), ("--inline-functions",), ("--proved-only",), ("--input-range", "-1:1")),
    *(("--skip-rule", "Conv"), ("--seed", "3"), ("--threads", "1"), ("--whole-feeds",), ("--batch", "2")),
)


def _collapse(rng: random.Random, folder: Path, *more: str) -> tuple[list[str], frozenset[str]]:
    model, out = str(folder / "m.onnx"), str(folder / "out.onnx")
    words = ["--prove-budget", "0.2", *more]
    for option in rng.sample(OPTIONS, rng.choice((0, 0, 1, 2))):
        words += option
    match rng.randrange(8):
        case 0 | 1:
            return ["inspect", model, *words, "-v"], frozenset()
        case 2:
            return ["verify", model, model, *more], frozenset()
        case 3:
            reports = ["--json", str(folder / "r.json"), "--report", str(folder / "r.html")]
            words += ["-o", out, "--latency", "off", "--no-cache", *reports]
            return ["collapse", model, *words], frozenset({"out.onnx", "out.onnx.data", "r.json", "r.html"})
    words += ["-o", out, "--latency", rng.choice(("off", "macs")), "--no-cache"]
    return ["collapse", model, *words], frozenset({"out.onnx", "out.onnx.data"})


def _model(rng: random.Random, folder: Path) -> Damaged:
    (folder / "m.onnx").write_bytes(mutated(rng.choice(_models()), rng))
    return Damaged("model", *_collapse(rng, folder))


def _external(rng: random.Random, folder: Path) -> Damaged:
    """A model with its weights in a file; the references or that file are damaged."""
    model = onnx.ModelProto()
    model.CopyFrom(rng.choice(_models()))
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    model = onnx.load(folder / "m.onnx", load_external_data=False)
    data = folder / "w.bin"
    match rng.randrange(4):
        case 0 if data.exists():
            data.write_bytes(damage(data.read_bytes(), rng))
        case 1 if data.exists():
            data.unlink()
            data.symlink_to(rng.choice(("/etc/passwd", "w.bin", "/dev/zero", "m.onnx", "nowhere")))
        case _:
            for tensor in model.graph.initializer:
                disturb(tensor, rng)
            (folder / "m.onnx").write_bytes(model.SerializeToString())
    return Damaged("external", *_collapse(rng, folder))


def _data(rng: random.Random, folder: Path) -> Damaged:
    model, data = _sound()
    (folder / "m.onnx").write_bytes(model)
    (folder / "d.npz").write_bytes(damage(data, rng))
    return Damaged("npz", *_collapse(rng, folder, "--data", str(folder / "d.npz")))


def _arrays(rng: random.Random, folder: Path) -> Damaged:
    """Arrays that are none of what the model takes."""
    (folder / "m.onnx").write_bytes(rng.choice(_models()).SerializeToString())
    shapes = [rng.choice(((), (0,), (3,), (4, 8), (2, 3, 6, 5), (2, 3, 6, 5, 1), (5, 0, 2))) for _ in range(3)]
    types = ("float32", "float64", "int64", "bool", "complex64", "S3", "datetime64[s]", "uint8", "float16")
    with np.errstate(all="ignore"):
        arrays = [np.asarray(rng.choice((0, 1, 7)) * np.ones(shape)).astype(rng.choice(types)) for shape in shapes]
    names = rng.sample(("x", "y", "labels", "input", "c", "a/b", "é"), 3)
    np.savez(folder / "d.npz", **dict(zip(names, arrays, strict=True)))
    return Damaged("arrays", *_collapse(rng, folder, "--data", str(folder / "d.npz")))


def _images(rng: random.Random, folder: Path) -> Damaged:
    rows = onnx.helper.make_tensor_value_info("x", 1, ["N", 3, 8, 8])
    out = onnx.helper.make_tensor_value_info("y", 1, ["N", 3, 8, 8])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [rows], [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    (folder / "images" / "class").mkdir(parents=True)
    for number in range(3):
        made, kind = io.BytesIO(), rng.choice(("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF"))
        Image.new(rng.choice(("RGB", "L")), (9, 10), 128).save(made, kind)
        content = damage(made.getvalue(), rng) if number == 1 else made.getvalue()
        (folder / "images" / "class" / f"{number}.{rng.choice(('png', 'jpg', 'bmp'))}").write_bytes(content)
    return Damaged("images", *_collapse(rng, folder, "--data", str(folder / "images")))


def _tensors(rng: random.Random, folder: Path) -> Damaged:
    model, _ = _sound()
    (folder / "m.onnx").write_bytes(model)
    proto = onnx.load_from_string(model)
    place = folder / "sets" / "test_data_set_0"
    place.mkdir(parents=True)
    for number, port in enumerate(proto.graph.input):
        shape = [dim.dim_value or 4 for dim in port.type.tensor_type.shape.dim]
        tensor = onnx.numpy_helper.from_array(np.zeros(shape, np.float32))
        disturb(tensor, rng)
        content = tensor.SerializeToString()
        (place / f"input_{number}.pb").write_bytes(damage(content, rng) if rng.random() < 0.3 else content)
    return Damaged("tensors", *_collapse(rng, folder, "--data", str(folder / "sets")))


@cache
def _records() -> tuple[bytes, bytes, bytes]:
    """A report with a measurement, a plan, a table of costs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, data = save_case(folder)
        report, plan, table = folder / "r.json", folder / "p.json", folder / "t.json"
        run(["inspect", str(model), "--data", str(data), "--json", str(report), "-q"])
        words = ["collapse", str(model), "--data", str(data), "-o", str(folder / "o.onnx"), "--plan", str(plan)]
        run([*words, "--latency", "off", "-q"])
        table.write_text(json.dumps({"fingerprint": "x", "costs": {"k": 1e-6}}), encoding="utf-8")
        return report.read_bytes(), plan.read_bytes(), table.read_bytes()


def _record(rng: random.Random, folder: Path) -> Damaged:
    model, _ = _sound()
    (folder / "m.onnx").write_bytes(model)
    which = rng.randrange(3)
    content = _records()[which]
    text = _disturbed_json(content, rng) if rng.random() < 0.7 else damage(content, rng)
    (folder / "r.json").write_bytes(text)
    option = ("--measurement", "--apply", "--latency-table")[which]
    words = ["collapse", str(folder / "m.onnx"), "-o", str(folder / "out.onnx"), option, str(folder / "r.json")]
    words += [] if which == 2 else ["--latency", "off", "--no-cache"]
    return Damaged("record", words, frozenset({"out.onnx", "out.onnx.data"}))


def _disturbed_json(content: bytes, rng: random.Random) -> bytes:
    data = json.loads(content)
    places: list[tuple[dict[str, object] | list[object], object]] = []
    waiting = [data]
    while waiting:
        owner = waiting.pop()
        entries = list(owner.items()) if isinstance(owner, dict) else list(enumerate(owner))
        places += [(owner, key) for key, _ in entries]
        waiting += [value for _, value in entries if isinstance(value, dict | list)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        owner, key = rng.choice(places)
        extremes = (None, True, -1, 0, 2**70, 1e308, float("nan"), "", "x" * 50, [], {}, [[[]]], {"a": 1})
        with contextlib.suppress(KeyError, IndexError):
            owner[key] = rng.choice(extremes)  # type: ignore[index]
    return json.dumps(data).encode()


KINDS: tuple[Callable[[random.Random, Path], Damaged], ...] = (
    *(_model,) * 12,
    *(_external,) * 3,
    *(_data, _arrays, _images, _tensors, _record),
)


def check_in_new_folder(seed: int, parent: Path) -> str:
    """`check_file` in a folder that is gone afterwards."""
    folder = parent / f"case-{seed}"
    folder.mkdir()
    try:
        return check_file(seed, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
