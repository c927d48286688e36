"""The bundled models are what models/README.md says they are."""

import hashlib
import importlib
import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

MODELS = Path(__file__).parents[1] / "models"
README = (MODELS / "README.md").read_text(encoding="utf-8")
NAMES = ("digits-resnet", "digits-mlp")
PARTS = ("calibration", "test")
KNOTS = {"Relu": (0.0,), "LeakyRelu": (0.0,), "Clip": (0.0, 6.0)}
MARGIN = 0.1


def rows(heading: str) -> list[list[str]]:
    """Cells of the README table whose header line starts with `heading`."""
    lines = README.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading)) + 2
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[start:end]]


FILES = rows("| file | bytes |")
ACCURACY = {row[0]: row for row in rows("| model | training accuracy |")}
RECTIFIERS = rows("| model | rectifier |")


def data(part: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(MODELS / f"digits-{part}.npz") as arrays:
        return arrays["input"], arrays["labels"]


def run(model: onnx.ModelProto, images: np.ndarray, outputs: list[str]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(outputs, {"input": images})


def load(name: str) -> onnx.ModelProto:
    return onnx.load(MODELS / f"{name}.onnx")


def pre_activations(name: str, part: str) -> dict[str, np.ndarray]:
    """Rectifier → z, (channels, observations)."""
    model = load(name)
    sources = {node.name: node.input[0] for node in model.graph.node if node.op_type in (*KNOTS, "Gelu")}
    model.graph.output.extend(onnx.ValueInfoProto(name=value) for value in sources.values())
    found = run(model, data(part)[0], list(sources.values()))
    return {key: np.moveaxis(z, 1, 0).reshape(z.shape[1], -1) for key, z in zip(sources, found, strict=True)}


@pytest.mark.parametrize("row", FILES, ids=lambda row: row[0])
def test_the_files_are_those_of_the_readme(row):
    content = (MODELS / row[0]).read_bytes()
    assert len(content) == int(row[1].replace(",", "")) < 600_000
    assert hashlib.sha256(content).hexdigest() == row[2]


def test_the_readme_lists_every_bundled_file():
    there = {path.name for path in MODELS.iterdir() if path.suffix in (".onnx", ".npz")}
    assert there == {row[0] for row in FILES}


@pytest.mark.parametrize("name", NAMES)
def test_interface(name):
    model = load(name)
    onnx.checker.check_model(model, full_check=True)
    (image,), (logits,) = model.graph.input, model.graph.output
    shapes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (image, logits)]
    assert (image.name, logits.name) == ("input", "logits")
    assert shapes == [["N", 1, 8, 8], ["N", 10]]
    assert image.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert 18 <= model.opset_import[0].version <= 20


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("name", NAMES)
def test_any_batch_size_runs(name, batch):
    (logits,) = run(load(name), data("test")[0][:batch], ["logits"])
    assert logits.shape == (batch, 10)
    assert np.isfinite(logits).all()


def test_batch_normalisation_stays_in_the_convnet():
    model = load("digits-resnet")
    convolutions = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    normalised = {node.input[0] for node in model.graph.node if node.op_type == "BatchNormalization"}
    assert len(convolutions) == 13
    assert normalised == convolutions


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_build_machine_is_left(name):
    model = load(name)
    assert all(prop.key.startswith("onnx_nepenthe.") for prop in model.metadata_props)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert b".py" not in model.SerializeToString()


@pytest.mark.parametrize("name", NAMES)
def test_the_files_say_how_they_were_made(name):
    notes = {prop.key.removeprefix("onnx_nepenthe."): json.loads(prop.value) for prop in load(name).metadata_props}
    assert (notes["method"], notes["linear"], notes["chosen_round"]) == ("press", [], 1)
    before = {row[1].replace(".", "_"): float(row[2]) for row in RECTIFIERS if row[0] == name}
    assert set(notes["entropy_bits"]) == set(notes["regimes"]) == set(before)
    zero = {row[1].replace(".", "_") for row in RECTIFIERS if row[0] == name and row[3] == row[4] == "0"}
    assert all(notes["entropy_bits"][site] == 0 for site in zero)
    stated = float(ACCURACY[name][2].removesuffix("%"))
    assert 100 * notes["rounds"][1]["accuracy"] == pytest.approx(stated, abs=0.005)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", NAMES)
def test_accuracy(name, part):
    images, labels = data(part)
    (logits,) = run(load(name), images, ["logits"])
    stated = float(ACCURACY[name][2 + PARTS.index(part)].removesuffix("%"))
    assert 100 * (logits.argmax(1) == labels).mean() == pytest.approx(stated, abs=0.005)


@pytest.mark.parametrize("part", PARTS)
def test_data_have_the_stated_form(part):
    images, labels = data(part)
    assert images.dtype == np.float32
    assert images.shape == ({"calibration": 300, "test": 400}[part], 1, 8, 8)
    assert labels.dtype == np.int64
    assert labels.shape == images.shape[:1]
    assert set(labels) == set(range(10))
    assert 0 == images.min() < images.max() == 1


def test_no_image_occurs_twice():
    every = np.concatenate([data(part)[0].reshape(-1, 64) for part in PARTS])
    assert len(np.unique(every, axis=0)) == len(every)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", NAMES)
def test_the_claimed_rectifiers_have_one_regime_per_channel(name, part):
    operators = {node.name: node.op_type for node in load(name).graph.node}
    stated = {row[1]: row for row in RECTIFIERS if row[0] == name}
    found = pre_activations(name, part)
    assert stated.keys() == found.keys()
    alone = set()
    for rectifier, z in found.items():
        knots = KNOTS.get(operators[rectifier])
        if knots is None:
            continue
        regimes = np.digitize(z, knots)
        if (regimes == regimes[:, :1]).all():
            alone.add(rectifier)
            assert min(np.abs(z - knot).min() for knot in knots) > MARGIN
            assert regimes.max() < 2, "saturated at 6"
    assert alone == {key for key, row in stated.items() if row[3 + PARTS.index(part)] == "0"}
    assert len(alone) == int(ACCURACY[name][5])
    assert len(found) == int(ACCURACY[name][4])


def test_a_whole_inverted_residual_block_is_linear_and_others_are_not():
    linear = {row[1] for row in RECTIFIERS if row[0] == "digits-resnet" and row[3] == row[4] == "0"}
    whole = [i for i in (1, 2, 3) if {f"inverted{i}.expand_act", f"inverted{i}.depthwise_act"} <= linear]
    assert 1 <= len(whole) < 3
    assert any(not rectifier.startswith("inverted") for rectifier in linear)
    assert all(float(row[2]) > 0.5 for row in RECTIFIERS if row[3] == "0"), "zero entropy was there from the start"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", NAMES)
def test_entropies(name, part):
    """Counted again here, in plain numpy, for the rectifiers with knots."""
    operators = {node.name: node.op_type for node in load(name).graph.node}
    stated = {row[1]: float(row[3 + PARTS.index(part)]) for row in RECTIFIERS if row[0] == name}
    for rectifier, z in pre_activations(name, part).items():
        if operators[rectifier] not in KNOTS:
            continue
        regimes = np.digitize(z, KNOTS[operators[rectifier]])
        shares = np.stack([(regimes == piece).mean(axis=1) for piece in range(3)])
        bits = -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(axis=0)
        assert bits.mean() == pytest.approx(stated[rectifier], abs=2e-4)


@pytest.fixture
def digits(monkeypatch):
    for name in ("torch", "accelerate", "sklearn"):
        pytest.importorskip(name)
    monkeypatch.syspath_prepend(str(MODELS))
    return importlib.import_module("digits")


def test_the_data_come_from_the_stated_split(digits):
    training, *others = digits.split()
    for part, its in zip(PARTS, others, strict=True):
        images, labels = data(part)
        np.testing.assert_array_equal(its.tensors[0].numpy(), images)
        np.testing.assert_array_equal(its.tensors[1].numpy(), labels)
    every = np.concatenate([its.tensors[0].numpy().reshape(-1, 64) for its in (training, *others)])
    assert every.shape == (1797, 64)
    assert len(np.unique(every, axis=0)) == 1797


def test_the_scripts_write_the_rows_of_the_readme(digits):
    text = README
    for row in FILES:
        text = digits.replaced(text, digits.FILES, [digits.file_row(MODELS / row[0])])
    for name in NAMES:
        own = [line for line in README.splitlines() if line.startswith(f"| {name} | ")]
        rows = [line for line in own if len(line.split("|")) == 9]
        text = digits.replaced(text, digits.RECTIFIERS, rows)
        text = digits.replaced(text, digits.ACCURACY, [digits.accuracy_row(name, MODELS / f"{name}.onnx", rows)])
    assert text == README


def test_rows_take_the_place_of_those_of_the_same_name(digits):
    table = "| model | rectifier |\n|---|---|\n| a | x |\n| a | y |\n| b | z |\n\nEnd.\n"
    found = digits.replaced(table, digits.RECTIFIERS, ["| a | new |"])
    assert found == "| model | rectifier |\n|---|---|\n| a | new |\n| b | z |\n\nEnd.\n"


def test_the_tables_are_read():
    assert len(FILES) == 4
    assert set(ACCURACY) == set(NAMES)
    assert all(re.fullmatch(r"[\d.]+", row[3]) for row in RECTIFIERS)
