"""Files that commands write, and the bars and log beside them."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path

import click
import pytest
from rich.console import Console

from onnx_nepenthe.cli.output import Output, check_paths, write_text
from onnx_nepenthe.cli.parameters import options_from, user_cache
from onnx_nepenthe.errors import NepentheError
from onnx_nepenthe.options import no_progress
from onnx_nepenthe.report.console import Bars, LogToConsole


def test_a_file_is_replaced_in_one_step_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old", encoding="utf-8")
    write_text(path, "näw\n")
    assert path.read_bytes() == "näw\n".encode()
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plain", "r.json"]


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NepentheError, match=r"r\.json cannot be written: No such file"):
        write_text(tmp_path / "gone" / "r.json", "x")


def test_links_to_one_file_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    (tmp_path / "link").symlink_to(tmp_path / "m.onnx")
    with pytest.raises(click.UsageError, match="is also the model"):
        check_paths({"the model": tmp_path / "m.onnx", "--json": str(tmp_path / "link")})
    check_paths({"the model": tmp_path / "m.onnx", "--json": "-", "--report": None})


@pytest.mark.parametrize("what", ["--report", "--plan", "the result"])
def test_only_json_goes_to_stdout(what: str) -> None:
    with pytest.raises(click.UsageError, match=f"{what} is -, but only --json goes to stdout"):
        check_paths({"the model": "-", "--json": "-", what: "-"})


def test_the_user_s_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "onnx-nepenthe"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache() == tmp_path / ".cache" / "onnx-nepenthe"

    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    assert user_cache() is None


def test_parameters_become_options() -> None:
    given = {
        **{"data": "d.npz", "seed": 3, "provider": "cpu", "threads": 2, "batch": 8, "limit": 100},
        **{"image_size": (8, 9), "mean": (0.5,), "std": None, "layout": "nhwc", "resize": "exact"},
        **{"input_ranges": (("x", (0.0, 1.0)), ("*", (-1.0, 1.0))), "skip": ("Relu",), "latency": "macs"},
    }
    options = options_from(given, no_progress)
    assert (options.data, options.seed, options.source.seed, options.batch, options.limit) == ("d.npz", 3, 3, 8, 100)
    assert (options.config.provider, options.config.threads, options.latency) == ("cpu", 2, "macs")
    assert (options.source.image_size, options.source.mean, options.source.std) == ((8, 9), (0.5,), None)
    assert (options.source.layout, options.source.resize, options.source.colour) == ("nhwc", "exact", "rgb")
    assert options.input_ranges == {"x": (0.0, 1.0), "*": (-1.0, 1.0)}
    assert options.skip == frozenset({"Relu"})


def test_bars_show_on_a_terminal_only() -> None:
    for terminal in (True, False):
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=terminal, width=80)
        with Bars(console) as bars:
            bars("reading [x]", 0, None)
            bars("measuring", 5, 10)
        assert ("measuring" in stream.getvalue()) is terminal
        assert ("\x1b" in stream.getvalue()) is terminal


def test_the_log_is_one_line_a_record_and_quiet_keeps_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("onnx_nepenthe.test")
    for is_quiet, expected in ((False, ["warning: w [b] x", "error: e"]), (True, ["error: e"])):
        with Output(None, is_quiet=is_quiet, verbosity=0).working():
            log.info("i")
            log.warning("w [b]\nx")
            log.error("e")
        assert capsys.readouterr().err.splitlines() == [f"onnx-nepenthe: {line}" for line in expected]
    assert not [h for h in logging.getLogger("onnx_nepenthe").handlers if isinstance(h, LogToConsole)]


def test_the_last_line_names_every_file_that_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(str(tmp_path / "r.json"), is_quiet=True, verbosity=0)
    output.write(tmp_path / "r.html", "<html>")
    output.write_json({"a": 1})
    output.show(lambda console: None, "out.onnx written")
    assert capsys.readouterr().out == f"out.onnx written; also written: {tmp_path / 'r.html'}, {tmp_path / 'r.json'}\n"
    assert (tmp_path / "r.html").read_text() == "<html>"
    nothing = Output(None, is_quiet=True, verbosity=0)
    nothing.show(lambda console: None, "done")
    assert capsys.readouterr().out == "done\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(path, "text\n")
        assert os.read(reader, 100) == b"text\n"
    finally:
        os.close(reader)
    assert path.is_fifo()
