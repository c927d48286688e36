"""The sub-commands: what they print where, what they write, how they end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

import onnx_nepenthe
from onnx_nepenthe import run
from onnx_nepenthe.cli import app
from onnx_nepenthe.errors import VerificationError
from onnx_nepenthe.ops import READERS
from tests.helpers.outcomes import mixed_model, positive_model, save_case

FAST = ("--latency", "off", "--no-cache")
Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return invoke


@pytest.fixture
def case(tmp_path: Path) -> tuple[Path, Path]:
    return save_case(tmp_path)


def widest(text: str) -> int:
    """Of all lines but the last, which is for reading by programs too."""
    return max(len(line) for line in text.splitlines()[:-1])


def test_the_help_says_what_runs_code(invoke: Invoke) -> None:
    said = " ".join(invoke("--help").stdout.split())
    assert "Code runs only where you name it: package.module:callable after --data or --metric" in said
    for command in ("inspect", "collapse", "verify", "bench"):
        said = " ".join(invoke(command, "--help").stdout.split())
        assert "`--data package.module:callable` imports that module and calls it: it runs code." in said
        assert "it runs its code" in said
    said = " ".join(invoke("collapse", "--help").stdout.split())
    assert said.count("package.module:callable (runs code)") == 2


def test_inspect_shows_what_could_go(invoke: Invoke, case: tuple[Path, Path]) -> None:
    done = invoke("inspect", case[0], "--data", case[1])
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    assert "1 of 1 rectifier in" in done.stdout.splitlines()[-1]
    assert re.search(r"Relu +6 +17 +83 +0\.000 +a line: seen 40x", done.stdout)
    assert widest(done.stdout) <= 80
    assert "\x1b" not in done.stdout


def test_collapse_writes_a_verified_model_and_its_reports(invoke: Invoke, case: tuple[Path, Path]) -> None:
    before = case[0].read_bytes()
    done = invoke("collapse", case[0], "--data", case[1], *FAST, "--json", "r.json", "--report", "r.html")
    assert done.exit_code == 0, done.stderr
    out = case[0].with_name("model.collapsed.onnx")
    assert [node.op_type for node in onnx.load(out).graph.node] == ["Gemm"]
    assert case[0].read_bytes() == before
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"{out} written: rectifiers 1 → 0, weighted depth 2 → 1")
    assert widest(done.stdout) <= 80
    record = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert (record["written"], record["collapsed"], record["output"]) == (True, True, str(out))
    assert record["rectifiers"] == {"before": 1, "after": 0}
    assert record["verification"]["passed"] is True
    assert (record["verification"]["samples"], record["verification"]["disjoint"]) == (10, True)
    assert record["command_line"].startswith("onnx-nepenthe collapse ")
    assert Path("r.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_nothing_to_collapse_copies_the_model_and_says_so(invoke: Invoke, tmp_path: Path) -> None:
    path, data = save_case(tmp_path, mixed_model())
    done = invoke("collapse", path, "--data", data, *FAST, "-o", "out.onnx", "--json", "r.json")
    assert done.exit_code == 0, done.stderr
    assert Path("out.onnx").read_bytes() == path.read_bytes()
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"nothing could be collapsed (channels change regime); out.onnx is a copy of {path}. Next: ")
    record = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert (record["written"], record["collapsed"]) == (True, False)
    assert record["refusals"][0]["reason"].startswith("6 of 6 channels change regime")


def test_a_page_has_the_entropy_of_rectifiers_that_a_scan_gives_up(invoke: Invoke, tmp_path: Path) -> None:
    path, data = save_case(tmp_path, mixed_model())

    def bits(*given: object) -> list[float | None]:
        done = invoke("collapse", path, "--data", data, *FAST, "-o", "out.onnx", "--json", "r.json", *given)
        assert done.exit_code == 0, done.stderr
        return [row["entropy_bits"] for row in json.loads(Path("r.json").read_text("utf-8"))["rectifier_rows"]]

    assert bits() == bits("--report", "r.html", "--scan") == [None]
    (found,) = bits("--report", "r.html")
    assert found is not None
    assert 0 < found <= 1


def test_without_data_the_next_step_is_data(invoke: Invoke, case: tuple[Path, Path]) -> None:
    done = invoke("collapse", case[0], *FAST)
    assert done.exit_code == 0, done.stderr
    assert "--data" in done.stdout.splitlines()[-1]


def test_a_promised_range_proves_what_data_only_suggest(invoke: Invoke, case: tuple[Path, Path]) -> None:
    for given in ("x=-1:1", "-1:1"):
        done = invoke("collapse", case[0], *FAST, "--input-range", given, "--json", "-")
        record = json.loads(done.stdout)
        assert record["rectifiers"] == {"before": 1, "after": 0}, given
        assert record["decisions"][0]["evidence"]["kind"] == "proved"


def test_proved_only_uses_no_data(invoke: Invoke, case: tuple[Path, Path]) -> None:
    done = invoke("collapse", case[0], "--data", case[1], *FAST, "--proved-only", "--json", "-")
    record = json.loads(done.stdout)
    assert record["rectifiers"] == {"before": 1, "after": 1}
    assert record["samples"] == 40


def test_a_skipped_rule_is_not_used(invoke: Invoke, case: tuple[Path, Path]) -> None:
    done = invoke("collapse", case[0], "--data", case[1], *FAST, "--skip-rule", "Relu", "--json", "-")
    assert json.loads(done.stdout)["rectifiers"] == {"before": 1, "after": 1}


def test_json_on_stdout_leaves_it_to_json(invoke: Invoke, case: tuple[Path, Path]) -> None:
    commands = (
        ("inspect", case[0], "--data", case[1]),
        ("collapse", case[0], "--data", case[1], *FAST),
        ("verify", case[0], case[0], "--data", case[1]),
        ("bench", case[0], case[0], "--seconds", "0.01"),
    )
    for command in commands:
        done = invoke(*command, "--json", "-")
        assert done.exit_code == 0, done.stderr
        record = json.loads(done.stdout)
        assert record["command"] == command[0]
        assert done.stderr.splitlines() == [record["message"]]


def test_quiet_prints_the_last_line_only(invoke: Invoke, case: tuple[Path, Path]) -> None:
    for command in (("inspect", case[0]), ("collapse", case[0], *FAST), ("verify", case[0], case[0])):
        done = invoke(*command, "-q")
        assert (done.exit_code, len(done.stdout.splitlines()), done.stderr) == (0, 1, "")
    assert invoke("inspect", case[0], "-q", "--json", "-").stderr == ""


def test_verbose_shows_the_log_on_stderr(invoke: Invoke, case: tuple[Path, Path]) -> None:
    def log_and_inspect(*given: Any, **named: Any) -> Any:
        run.pipeline.inspection.LOG.info("a [word]\nof %s", "news")
        return inspect(*given, **named)

    inspect = run.inspect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "inspect", log_and_inspect)
        assert "a [word] of news" not in invoke("inspect", case[0]).stderr
        assert "onnx-nepenthe: info: a [word] of news" in invoke("inspect", case[0], "-v").stderr.splitlines()


def test_verify_compares_outputs_and_accuracy(invoke: Invoke, case: tuple[Path, Path], tmp_path: Path) -> None:
    done = invoke("verify", case[0], case[0], "--data", case[1])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "same class for 100.00 %" in " ".join(done.stdout.split())
    assert "50 samples" in done.stdout.splitlines()[-1]
    assert widest(done.stdout) <= 80
    other = positive_model()
    weights = onnx.numpy_helper.to_array(other.graph.initializer[0])
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights * np.float32(1.5), weights_name(other)))
    onnx.save(other, tmp_path / "other.onnx")
    for data in (("--data", case[1]), ()):
        done = invoke("verify", case[0], tmp_path / "other.onnx", *data, "--json", "v.json")
        assert done.exit_code == 3
        assert "does NOT compute" in done.stdout.splitlines()[-1]
        assert json.loads(Path("v.json").read_text(encoding="utf-8"))["verification"]["passed"] is False


def weights_name(model: onnx.ModelProto) -> str:
    return model.graph.initializer[0].name


def test_verify_fills_up_models_for_one_batch_size(invoke: Invoke, tmp_path: Path) -> None:
    model = positive_model()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 8
    path, data = save_case(tmp_path, model)
    done = invoke("verify", path, path, "--data", data, "--json", "-")
    assert json.loads(done.stdout)["verification"]["samples"] == 50, done.stderr


def test_verify_refuses_another_interface(invoke: Invoke, case: tuple[Path, Path], tmp_path: Path) -> None:
    onnx.save(mixed_model(), tmp_path / "other.onnx")
    done = invoke("verify", case[0], tmp_path / "other.onnx")
    assert done.exit_code == 3
    assert "interface: " in done.stdout


def test_bench_times_each_and_pairs_with_the_first(invoke: Invoke, case: tuple[Path, Path]) -> None:
    done = invoke("bench", case[0], case[0], "--seconds", "0.02", "--batch", "4", "--json", "b.json", "--no-memory")
    assert done.exit_code == 0, done.stderr
    assert widest(done.stdout) <= 80
    first, second = json.loads(Path("b.json").read_text(encoding="utf-8"))["models"]
    assert first["p50_ms"] <= first["p90_ms"] <= first["p99_ms"]
    assert (first["batch"], first["against_first"]) == (4, None)
    assert second["against_first"]["pairs"] >= 9


def test_bench_takes_data_and_refuses_models_with_other_inputs(
    invoke: Invoke, case: tuple[Path, Path], tmp_path: Path
) -> None:
    assert invoke("bench", case[0], "--seconds", "0.01", "--data", case[1], "--no-memory").exit_code == 0
    other = mixed_model()
    other.graph.input[0].name = other.graph.node[0].input[0] = "z"
    onnx.save(other, tmp_path / "other.onnx")
    done = invoke("bench", case[0], tmp_path / "other.onnx")
    assert done.exit_code == 2
    assert "has other inputs than" in done.stderr


UNREADABLE = {
    "no such model": ("inspect", "nosuch.onnx"),
    "not a model": ("collapse", "text.onnx"),
    "no such data": ("inspect", "model.onnx", "--data", "nosuch.npz"),
    "other data": ("collapse", "model.onnx", "--data", "other.npz"),
    "no second model": ("verify", "model.onnx", "nosuch.onnx"),
    "nothing to time": ("bench", "nosuch.onnx"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_is_one_line_and_1(name: str, invoke: Invoke, case: tuple[Path, Path]) -> None:
    Path("text.onnx").write_text("no model", encoding="utf-8")
    np.savez("other.npz", a=np.zeros(3), b=np.zeros(3))
    done = invoke(*UNREADABLE[name])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("onnx-nepenthe: error: ")
    assert not list(Path().glob("*.collapsed.onnx"))


WRONG = {
    "unknown option": (("inspect", "model.onnx", "--speed"), "No such option"),
    "unknown command": (("colapse", "model.onnx"), "colapse"),
    "no model": (("inspect",), "Missing argument"),
    "unknown rule": (("collapse", "model.onnx", "--skip-rule", "Cnv"), "did you mean Conv"),
    "rule like no other": (("collapse", "model.onnx", "--skip-rule", "qqqq"), "--list-rules"),
    "no range": (("inspect", "model.onnx", "--input-range", "x"), "is not LOW:HIGH"),
    "empty range": (("inspect", "model.onnx", "--input-range", "1:0"), "LOW must not be above HIGH"),
    "NaN range": (("inspect", "model.onnx", "--input-range", "nan:1"), "holds no number"),
    "no such input": (("inspect", "model.onnx", "--input-range", "y=0:1"), "has no input 'y'"),
    "no size": (("inspect", "model.onnx", "--image-size", "224"), "is not HEIGHTxWIDTH"),
    "zero size": (("inspect", "model.onnx", "--image-size", "0x4"), "is not HEIGHTxWIDTH"),
    "no numbers": (("inspect", "model.onnx", "--mean", "a,b"), "is not a list of numbers"),
    "infinite": (("inspect", "model.onnx", "--std", "inf"), "not finite"),
    "zero deviation": (("inspect", "model.onnx", "--std", "0"), "standard deviation of 0"),
    "batch 0": (("inspect", "model.onnx", "--batch", "0"), "x>=1"),
    "over the input": (("collapse", "model.onnx", "-o", "model.onnx"), "is also the model"),
    "report over the result": (("collapse", "model.onnx", "-o", "a", "--report", "a"), "is also the result"),
    "json over the report": (("collapse", "model.onnx", "--json", "a", "--report", "a"), "is also --json"),
    "json over B": (("verify", "model.onnx", "b.onnx", "--json", "b.onnx"), "is also B"),
    "json in no folder": (("inspect", "model.onnx", "--json", "no/r.json"), "there is no folder"),
    "json on a folder": (("inspect", "model.onnx", "--json", "."), "is a folder"),
    "result in no folder": (("collapse", "model.onnx", "-o", "no/out.onnx"), "there is no folder"),
    "unknown provider": (("collapse", "model.onnx", "--provider", "abacus"), "provider abacus is unknown"),
    "unknown latency": (("collapse", "model.onnx", "--latency", "fast"), "measured"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_usage_says_what_is_wrong_and_2(name: str, invoke: Invoke, case: tuple[Path, Path]) -> None:
    words, expected = WRONG[name]
    before = _files()
    done = invoke(*words)
    assert done.exit_code == 2, done.stderr
    assert expected in " ".join(done.stderr.split())
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert _files() == before


def _files() -> list[Path]:
    """What is in the folder; not the cache, in which onnxruntime keeps files of its own from its first import on."""
    return sorted(path for path in Path().iterdir() if path.name != "cache")


def test_failed_verification_writes_nothing_and_3(
    invoke: Invoke, case: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise VerificationError("verification failed: output y differs; nothing was written")

    monkeypatch.setattr(run.pipeline, "collapse", fail)
    done = invoke("collapse", case[0], "-o", "out.onnx", "--json", "-")
    assert done.exit_code == 3
    assert done.stderr == "onnx-nepenthe: error: verification failed: output y differs; nothing was written\n"
    record = json.loads(done.stdout)
    assert (record["written"], record["error"]["exit_code"]) == (False, 3)
    assert not Path("out.onnx").exists()


def test_a_bug_asks_to_be_reported(invoke: Invoke, case: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr(run.pipeline, "inspect", fail)
    done = invoke("inspect", case[0])
    assert done.exit_code == 1
    assert done.stderr.startswith("onnx-nepenthe: error: ZeroDivisionError: oh; this is a bug, please report it")
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" in invoke("inspect", case[0], "-v").stderr


def test_a_report_that_cannot_be_written_is_1_and_the_model_is_there(
    invoke: Invoke, case: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("onnx_nepenthe.cli.output.os.chmod", fail)
    done = invoke("collapse", case[0], *FAST, "-o", "out.onnx", "--report", "r.html")
    assert (done.exit_code, done.stderr) == (
        1,
        "onnx-nepenthe: error: r.html cannot be written: No space left on device\n",
    )
    assert Path("out.onnx").exists()
    assert not list(Path().glob(".r.html*"))


def test_interrupted_is_130(invoke: Invoke, case: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.pipeline, "inspect", interrupt)
    done = invoke("inspect", case[0])
    assert (done.exit_code, done.stderr.strip()) == (130, "onnx-nepenthe: interrupted")


def test_rules_are_listed(invoke: Invoke, case: tuple[Path, Path]) -> None:
    done = invoke("collapse", "--list-rules")
    assert done.exit_code == 0
    names = {line.split(maxsplit=1)[1] for line in done.stdout.splitlines()}
    assert {"Relu", "Gelu(erf)", *READERS} <= names
    assert invoke("inspect", "--list-rules").stdout == done.stdout


def test_the_version_names_what_it_runs_on(invoke: Invoke) -> None:
    done = invoke("--version")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == f"onnx-nepenthe {onnx_nepenthe.__version__}"
    assert [line.split()[0] for line in done.stdout.splitlines()[1:4]] == ["onnx", "onnx_ir", "onnxruntime"]
    assert re.search(r"^providers .*cpu", done.stdout, flags=re.MULTILINE)


@pytest.mark.parametrize("name", ["inspect", "collapse", "verify", "bench"])
def test_help_has_an_example_that_parses_and_says_what_runs_code(name: str, invoke: Invoke) -> None:
    done = invoke(name, "--help")
    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    assert "`--data package.module:callable` imports that module and calls it: it runs code" in text
    examples = re.findall(rf"^ +onnx-nepenthe {name} (.+)$", done.stdout, flags=re.MULTILINE)
    assert examples
    for example in examples:
        made = app.commands[name].make_context(name, example.split(), resilient_parsing=False)
        assert isinstance(made, click.Context)


def test_measured_latency_is_in_the_report(invoke: Invoke, case: tuple[Path, Path]) -> None:
    done = invoke("collapse", case[0], "--data", case[1], "--threads", "1", "--json", "-", "--cache", "timings")
    record = json.loads(done.stdout)
    assert done.exit_code == 0, done.stderr
    if record["collapsed"]:
        assert record["latency"]["measured"] is True
        assert record["latency"]["low"] <= record["latency"]["speedup"] <= record["latency"]["high"]
    assert list(Path("timings").glob("*.json"))
    assert not Path("cache", "onnx-nepenthe").exists()
