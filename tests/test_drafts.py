"""Folders for what is not finished."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onnx_nepenthe import drafts
from onnx_nepenthe.drafts import draft, remove_all


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_gone_on_leaving(tmp_path: Path) -> None:
    with draft("x.", tmp_path) as folder:
        (folder / "file").touch()
        assert names(tmp_path) == [folder.name]
    assert names(tmp_path) == []


def test_gone_on_failing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), draft("x.", tmp_path):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_all_go_at_once(tmp_path: Path) -> None:
    with draft("x.", tmp_path) as one, draft("y.", tmp_path) as other:
        (one / "file").touch()
        (other / "inner").mkdir()
        remove_all()
        assert names(tmp_path) == []
    assert set() == drafts.OPEN


@pytest.mark.skipif(drafts.fcntl is None, reason="no locks that end with their process")
def test_those_of_processes_that_were_killed_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    dead = (
        "import os, sys, pathlib; from onnx_nepenthe.drafts import draft\nwith draft('x.', pathlib.Path(sys.argv[1])):"
    )
    subprocess.run([sys.executable, "-c", f"{dead} os._exit(1)", str(tmp_path)], check=False)
    assert len(names(tmp_path)) == 1
    (tmp_path / "x.draft-is-a-file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "x.draft-link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    living = subprocess.Popen(
        [sys.executable, "-c", f"{dead} print('here', flush=True); input()", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    with living:
        assert living.stdout is not None
        assert living.stdout.readline() == "here\n"
        with draft("x.", tmp_path) as mine:
            left = {path for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()} - {mine}
            assert len(left) == 2
            assert tmp_path / "elsewhere" in left
    assert names(tmp_path) == ["elsewhere", "x.draft-is-a-file", "x.draft-link"]


def test_without_locks_nothing_of_others_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "fcntl", None)
    (tmp_path / "x.draft-1").mkdir()
    with draft("x.", tmp_path):
        assert len(names(tmp_path)) == 2
    assert names(tmp_path) == ["x.draft-1"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"), draft("x.", tmp_path / "none"):
        pass
    assert os.listdir(tmp_path) == []
