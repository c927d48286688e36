"""Run the commands of a page in an empty folder and put what they print below them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from documenting.pages import PROMPT, ROOT, Block, with_blocks

LONGEST_S = 900
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Shell:
    """A folder with the bundled models in it, and the exit code of the last command.

    Attributes:
        folder: where commands run.
        codes: command → exit code, in order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.codes = folder, list[tuple[str, int]]()
        shutil.copytree(ROOT / "models", folder / "models", ignore=shutil.ignore_patterns("__pycache__"))
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = os.environ | {
            "PATH": path,
            "PYTHONPATH": os.pathsep.join([".", os.environ.get("PYTHONPATH", "")]),
            "COLUMNS": "80",
            "NO_COLOR": "1",
        }
        self._environment["XDG_CACHE_HOME"] = str(folder / ".cache")

    def run(self, command: str) -> str:
        """What `command` prints, errors too."""
        last = self.codes[-1][1] if self.codes else 0
        done = subprocess.run(
            ["bash", "-c", f"(exit {last})\n{command}"],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
            timeout=LONGEST_S,
        )
        self.codes.append((command, done.returncode))
        return _COLOUR.sub("", done.stdout)

    def take(self, block: Block) -> str:
        """The block as it should be: a file is written (a further block of its name adds to it), commands are run."""
        if block.title and block.language != "diff":
            with (self.folder / block.title).open("a", encoding="utf-8") as file:
                file.write(block.text)
        if block.language != "console":
            return block.text
        return "".join(self._shown(command) for command in block.commands)

    def _shown(self, command: str) -> str:
        printed = "\n".join(line.rstrip() for line in self.run(command).rstrip().splitlines())
        return f"{PROMPT}{command}\n" + (f"{printed}\n" if printed else "")


def with_outputs(page: Path) -> tuple[str, list[tuple[str, int]]]:
    """The page with the outputs of its commands, and the exit code of each command."""
    with tempfile.TemporaryDirectory() as folder:
        shell = Shell(Path(folder))
        text = with_blocks(page.read_text(encoding="utf-8"), shell.take)
        return text, shell.codes
