"""Disks that are full, folders that are read-only, inputs that change, runs that meet: nothing half, and the cause."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import CliRunner, Result

from onnx_nepenthe.cli import app
from onnx_nepenthe.errors import NepentheError
from onnx_nepenthe.graph import mapping
from onnx_nepenthe.graph.load import load
from onnx_nepenthe.graph.reference import chain_model
from onnx_nepenthe.graph.save import copy, save
from onnx_nepenthe.latency import OperatorTable
from onnx_nepenthe.session import open_session
from tests.helpers.build import Builder
from tests.helpers.processes import run

FAST = ("--latency", "off", "--no-cache", "-q")


def network(width: int = 30, producer: str = "") -> onnx.ModelProto:
    """Two matrix products that are one, and one that stays."""
    g = Builder(np.random.default_rng(0))
    value = g.gemm(g.gemm("x", (width, width)), (width, width))
    model = g.model({"x": ["N", width]}, [g.gemm(g.node("Sigmoid", value), (width, width))])
    model.producer_version = producer
    return model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(network(), path)
    return path


def external(path: Path, producer: str = "") -> Path:
    onnx.save(network(producer=producer), path, save_as_external_data=True, location=f"{path.name}.data")
    return path


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


Mount = Callable[[str], Path]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mount]:
    """A file system in memory, of a size; only root may make one."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=False)
        if done.returncode:
            pytest.skip("no file system can be mounted here")
        return place

    if not hasattr(os, "geteuid") or os.geteuid() or not Path("/bin/mount").exists():
        pytest.skip("only root mounts file systems")
    yield mount
    subprocess.run(["umount", str(place)], check=False, capture_output=True)


@pytest.mark.parametrize("is_external", [False, True])
def test_a_full_disk(tmp_path: Path, mounted: Mount, is_external: bool) -> None:
    disk = mounted("size=16k")
    path = tmp_path / "m.onnx"
    onnx.save(network(120), path, save_as_external_data=is_external, location="m.onnx.data")
    before = path.read_bytes()
    done = invoke("collapse", path, "-o", disk / "out.onnx", *FAST)
    assert done.exit_code == 1
    said = f"onnx-nepenthe: error: {disk}/out.onnx: cannot be written: No space left on device; nothing was changed\n"
    assert done.stderr == said
    assert list(disk.iterdir()) == []
    assert path.read_bytes() == before


@pytest.mark.parametrize("option", ["--json", "--report", "--plan"])
def test_a_disk_too_full_for_a_report(model: Path, tmp_path: Path, mounted: Mount, option: str) -> None:
    disk = mounted("size=4k")
    done = invoke("collapse", model, "-o", tmp_path / "out.onnx", *FAST, option, disk / "r")
    assert done.exit_code == 1
    assert done.stderr == f"onnx-nepenthe: error: {disk}/r cannot be written: No space left on device\n"
    # The record of the error is small enough.
    assert [path.name for path in disk.iterdir()] == (["r"] if option == "--json" else [])
    assert option != "--json" or json.loads((disk / "r").read_text(encoding="utf-8"))["error"]


def test_a_read_only_folder(model: Path, mounted: Mount) -> None:
    disk = mounted("size=1m,ro")
    done = invoke("collapse", model, "-o", disk / "out.onnx", *FAST)
    assert done.exit_code == 1
    assert f"{disk}/out.onnx: cannot be written: Read-only file system; nothing was changed" in done.stderr


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))"
    done = run(("collapse", path, "-o", "out.onnx", *FAST), tmp_path, limit)
    assert (done.returncode, done.stdout) == (1, "")
    assert "out.onnx: cannot be written: File too large; nothing was changed" in done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]


def test_no_room_for_a_copy_of_a_large_model(tmp_path: Path, mounted: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(mounted("size=4k")))
    monkeypatch.setattr("onnx_nepenthe.graph.serial.LARGEST_MESSAGE_BYTES", 100)
    with pytest.raises(NepentheError, match=r"room in .*disk: No space left on device; set TMPDIR to another folder"):
        open_session(ir.from_proto(network()))


def test_a_cache_on_a_read_only_disk_costs_a_warning(mounted: Mount, caplog: pytest.LogCaptureFixture) -> None:
    table = OperatorTable(folder=mounted("size=1m,ro"), budget_s=1e-4)
    assert table.cost_s("relu", lambda: (chain_model(1), {"x": np.zeros(1, np.float32)})) > 0
    assert "cannot be written (Read-only file system); costs are kept in memory only" in caplog.text


@pytest.mark.parametrize("name", ["m.onnx", "link.onnx", "./m.onnx"])
def test_the_input_is_no_output(model: Path, name: str) -> None:
    (model.parent / "link.onnx").symlink_to(model)
    before = model.read_bytes()
    done = invoke("collapse", model, "-o", f"{model.parent}/{name}", *FAST)
    assert done.exit_code == 2
    assert "is also the model; give another name" in done.stderr
    assert model.read_bytes() == before


def test_data_of_the_input_are_no_output(tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx")
    before = (tmp_path / "m.onnx.data").read_bytes()
    done = invoke("collapse", path, "-o", tmp_path / "m.onnx.data", *FAST)
    assert done.exit_code == 2
    assert "holds weights of the input" in done.stderr
    assert (tmp_path / "m.onnx.data").read_bytes() == before


def replaced(path: Path) -> None:
    fresh = path.with_name("fresh")
    fresh.write_bytes(path.read_bytes())
    fresh.replace(path)


def written_to(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(file.read(1))
    os.utime(path, (1, 1))


@pytest.mark.parametrize("change", [replaced, written_to, Path.unlink])
@pytest.mark.parametrize("which", ["m.onnx", "m.onnx.data"])
@pytest.mark.parametrize("writing", ["save", "copy"])
def test_an_input_that_changes_meanwhile(
    tmp_path: Path, change: Callable[[Path], None], which: str, writing: str
) -> None:
    path, out = external(tmp_path / "m.onnx"), tmp_path / "out.onnx"
    original = load(path)
    change(tmp_path / which)
    write = partial(save, original.clone(), source=path) if writing == "save" else partial(copy, path)
    with pytest.raises(NepentheError, match=r"was changed|no such file|is missing"):
        write(out, original=original)
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(("out", ".out"))]


def test_what_was_read_stays_what_is_used(tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx")
    loaded = load(path)
    data = tmp_path / "m.onnx.data"
    (tmp_path / "other").write_bytes(bytes(data.stat().st_size))
    (tmp_path / "other").replace(data)
    x = np.ones((1, 30), np.float32)
    onnx.save(network(), tmp_path / "same.onnx")
    expected = open_session(tmp_path / "same.onnx").run({"x": x})
    np.testing.assert_array_equal(open_session(loaded).run({"x": x}), expected)


@pytest.mark.parametrize("limit", [1 << 26, 100])
def test_data_that_are_cut_short_while_they_are_copied(
    tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "LARGEST_READ_BYTES", limit)
    path = external(tmp_path / "m.onnx")
    loaded = load(path)
    with (tmp_path / "m.onnx.data").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(NepentheError, match="was cut short while it was read"):
        save(loaded, tmp_path / "out.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "m.onnx.data"]


def test_two_runs_that_write_one_result_do_not_mix(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    models = {}
    for name in ("first", "second"):
        proto = network(producer=name)
        for tensor in proto.graph.initializer:
            tensor.raw_data = np.full(tensor.dims, len(models), np.float32).tobytes()
        models[name] = ir.from_proto(proto)

    def write(name: str) -> None:
        for _ in range(15):
            save(models[name], out, external_above_bytes=100)

    writers = [threading.Thread(target=write, args=(name,)) for name in models]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = load(out)
    weights = [value.const_value for value in found.graph.initializers.values()]
    wanted = list(models).index(str(found.producer_version))
    assert all((weight.numpy() == wanted).all() for weight in weights if weight is not None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.onnx", "out.onnx.data"]
