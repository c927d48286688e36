"""The shell completes commands and options."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from onnx_nepenthe.cli import app

NAME, VARIABLE = "onnx-nepenthe", "_ONNX_NEPENTHE_COMPLETE"


def asked(**environment: str) -> str:
    done = CliRunner().invoke(app, [], env=environment, prog_name=NAME)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_prints_a_script(shell: str) -> None:
    script = asked(**{VARIABLE: f"{shell}_source"})
    assert f"{VARIABLE}={shell}_complete" in script
    assert NAME in script


@pytest.mark.parametrize(
    ("words", "at", "offered"),
    [
        ("onnx-nepenthe co", "1", "collapse"),
        ("onnx-nepenthe collapse --latency-t", "2", "--latency-table"),
        ("onnx-nepenthe collapse --latency m", "3", "measured"),
        ("onnx-nepenthe prune --sched", "2", "--schedule"),
    ],
)
def test_it_offers_what_fits(words: str, at: str, offered: str) -> None:
    answer = asked(**{VARIABLE: "bash_complete", "COMP_WORDS": words, "COMP_CWORD": at})
    assert f"plain,{offered}" in answer.splitlines()
