"""Folders: as a whole or not at all, and never over somebody else's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnx_nepenthe.errors import NepentheError, UsageError
from onnx_nepenthe.graph import folder
from onnx_nepenthe.graph.folder import check_folder, staged_folder


def never(path: Path) -> bool:
    return False


def always(path: Path) -> bool:
    return True


def write(target: Path, text: str = "new") -> None:
    with staged_folder(target, always) as draft:
        (draft / "a.txt").write_text(text)


def test_a_new_folder_and_an_empty_one_are_taken(tmp_path: Path) -> None:
    write(tmp_path / "out")
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty", never)
    write(tmp_path / "empty")
    assert [(tmp_path / name / "a.txt").read_text() for name in ("out", "empty")] == ["new", "new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "out"]


def test_one_of_ours_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write(target, "old")
    (target / "more.txt").write_text("old")
    write(target)
    assert {path.name: path.read_text() for path in target.iterdir()} == {"a.txt": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("x"), "is not a folder"),
        (lambda path: (path.mkdir(), (path / "mine.txt").write_text("x")), "did not write"),
        (lambda path: path.symlink_to(path.parent), "is not a folder"),
    ],
)
def test_what_is_somebody_elses_is_refused(tmp_path: Path, make: object, message: str) -> None:
    target = tmp_path / "out"
    make(target)  # type: ignore[operator]
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UsageError, match=message), staged_folder(target, never):
        pass
    assert sorted(os.listdir(tmp_path)) == before


def test_a_missing_parent_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        check_folder(tmp_path / "none" / "out", never)


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    write(target, "old")
    with pytest.raises(RuntimeError), staged_folder(target, always):
        raise RuntimeError
    rename = os.rename

    def fails(source: Path, to: Path) -> None:
        if Path(to) == target and Path(source).name == "new":
            raise OSError(28, "No space left on device")
        rename(source, to)

    monkeypatch.setattr(folder.os, "rename", fails)
    with pytest.raises(NepentheError, match="No space left on device; nothing was changed"):
        write(target)
    assert (target / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
