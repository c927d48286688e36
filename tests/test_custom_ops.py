"""Libraries with kernels of custom operators."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from onnx_nepenthe import run
from onnx_nepenthe.cli import app
from onnx_nepenthe.errors import UnsupportedError, UsageError
from onnx_nepenthe.options import Options
from onnx_nepenthe.run import options_from
from onnx_nepenthe.session import SessionConfig
from tests.helpers.compare import operators
from tests.zoo.specimen import IMAGE, builder, imports, pair, paired

NOTHING = "void *RegisterCustomOps(void *options, const void *api) { return 0; }\n"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """One that registers nothing."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, made = tmp_path / "ops.c", tmp_path / "ops.so"
    source.write_text(NOTHING, encoding="utf-8")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, source], check=True)
    return made


def inverted() -> onnx.ModelProto:
    """An operator of onnxruntime-extensions behind two convolutions."""
    g = builder()
    y = pair(g)
    model = g.model({"x": IMAGE}, [g.node("Identity", y)])
    model.graph.node[-1].op_type, model.graph.node[-1].domain = "NegPos", "ai.onnx.contrib"
    model.graph.node[-1].output.append("negative")
    return imports(model, "ai.onnx.contrib")


def test_a_library_is_loaded_for_every_session(library: Path) -> None:
    options = options_from(arguments={"custom_ops": [library], "latency": "off", "threads": 1})
    assert options.config == SessionConfig(threads=1, custom_ops=(str(library),))
    _, outcome = run.collapse(paired(builder()), None, options)
    assert outcome.is_collapsed
    assert outcome.options["custom_ops"] == [str(library)]


def test_on_the_command_line(library: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(paired(builder()).SerializeToString())
    done = CliRunner().invoke(app, ["collapse", str(model), "--latency", "off", "--custom-ops", str(library), "-q"])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["inspect", str(model), "--data", "none.npz", "--custom-ops", "none.so"])
    assert done.exit_code == 2
    assert "--custom-ops none.so is no library of custom operators" in done.stderr
    assert done.stderr.count("\n") == 1


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.so"
    path.write_text("text", encoding="utf-8")
    options = options_from(arguments={"custom_ops": [path], "latency": "off"})
    with pytest.raises(UsageError, match="is no library of custom operators"):
        run.collapse(paired(builder()), None, options)


def test_without_the_library_the_refusal_names_the_option() -> None:
    with pytest.raises(UnsupportedError, match=r"NegPos.*give that with --custom-ops") as caught:
        run.collapse(inverted(), None, Options(latency="off"))
    assert "\n" not in str(caught.value)


def test_with_it_the_model_is_collapsed_and_verified() -> None:
    extensions = pytest.importorskip("onnxruntime_extensions")
    config = SessionConfig(custom_ops=(extensions.get_library_path(),))
    result, outcome = run.collapse(inverted(), None, Options(latency="off", config=config))
    assert operators(result) == {"Conv": 1, "NegPos": 1}
    assert outcome.verdict is not None
    assert outcome.verdict.engine.startswith("onnxruntime")
    assert np.isfinite(outcome.verdict.max_abs_error)
