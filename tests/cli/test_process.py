"""The command as a process: signals, pipes, terminals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.outcomes import save_case

# A process started in the background ignores SIGINT, and so do its children; a shell's foreground would not.
START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from onnx_nepenthe.cli import main
main()
"""
SLOW = """
import pathlib, time
def feeds():
    pathlib.Path("started").touch()
    time.sleep(600)
    yield {}
"""


def command(*words: object) -> list[str]:
    return [sys.executable, "-W", "error", "-c", START, *map(str, words)]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (15, 143, "terminated")])
def test_a_signal_ends_it_without_traceback_or_result(tmp_path: Path, number: int, code: int, word: str) -> None:
    path, _ = save_case(tmp_path)
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    with subprocess.Popen(
        command("collapse", path, "--data", "slow:feeds", "-o", "out.onnx"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "started").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr.lstrip()) == (code, "", f"onnx-nepenthe: {word}\n")
    assert not (tmp_path / "out.onnx").exists()


def test_an_interrupt_while_it_is_loaded_ends_it_without_traceback() -> None:
    """As if Ctrl-C came when the report is imported."""
    interrupted = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "onnx_nepenthe.report":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from onnx_nepenthe.cli import main
"""
    done = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout, done.stderr.lstrip()) == (130, "", "onnx-nepenthe: interrupted\n")


def test_pipes_get_plain_text_whatever_the_terminal_says(tmp_path: Path) -> None:
    path, data = save_case(tmp_path)
    variables = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    done = subprocess.run(
        command("inspect", path, "--data", data),
        env=variables | {"TERM": "xterm-256color", "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    assert b"\x1b" not in done.stdout
    assert max(len(line) for line in done.stdout.decode().splitlines()[:-1]) <= 80


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    path, _ = save_case(tmp_path)
    with subprocess.Popen(command("inspect", path), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_an_encoding_without_dashes_and_arrows_is_no_error(tmp_path: Path) -> None:
    path, data = save_case(tmp_path)
    done = subprocess.run(
        command("collapse", path, "--data", data, "--latency", "off"),
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"written: rectifiers 1 ? 0" in done.stdout
