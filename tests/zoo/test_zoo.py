"""Each row of the zoo becomes what it says, with the same numbers and the same interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_nepenthe import run
from onnx_nepenthe.errors import NepentheError
from onnx_nepenthe.graph.interface import compare, interface_of
from onnx_nepenthe.graph.seeding import seeded
from onnx_nepenthe.options import Options
from onnx_nepenthe.session import SessionConfig
from tests.helpers.build import Array
from tests.helpers.compare import feeds_for, run_runtime
from tests.helpers.reference import run_reference
from tests.zoo.specimen import REFERENCE, RUNTIME, Specimen, operators_in
from tests.zoo.zoo import write, zoo

SIZES = {"N": 2, "H": 7, "W": 6, "T": 3}
TOLERANCES = {"float16": 2e-2, "bfloat16": 1e-1, "float64": 1e-10}
ENGINES = {RUNTIME: run_runtime, REFERENCE: run_reference}
ROWS = {specimen.name: specimen for specimen in zoo()}


def options_of(row: Specimen) -> Options:
    return Options(**{"latency": "off", "config": SessionConfig(threads=1), **row.options})


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if isinstance(row.becomes, str)])
def test_what_cannot_be_taken_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    path.write_bytes(row.model.SerializeToString())
    with pytest.raises(NepentheError) as caught:
        run.collapse(path, out, options_of(row))
    assert str(row.becomes) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if not isinstance(row.becomes, str)])
def test_it_becomes_what_it_should_and_computes_the_same(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    path.write_bytes(row.model.SerializeToString())
    _, outcome = run.collapse(path, out, options_of(row))
    after = onnx.load(out)
    assert operators_in(after) == row.becomes
    assert not row.says or any(row.says in reason for reason in reasons(outcome))
    changes = compare(interface_of(ir.from_proto(row.model)), interface_of(ir.from_proto(after)))
    assert [line for line in changes if not line.startswith(tuple(row.changes))] == []
    feeds = row.feeds or feeds_for(row.model, np.random.default_rng(1), SIZES)
    for engine in row.engines:
        assert_equal(ENGINES[engine](reseeded(after), feeds), ENGINES[engine](reseeded(row.model), feeds))


def reasons(outcome: Any) -> Iterator[str]:
    yield from (refusal.reason for refusal in (*outcome.refusals, *outcome.inspection.refusals))
    yield from (row.found.refusal.reason for row in outcome.inspection.rows if not row.removed)


def reseeded(model: onnx.ModelProto) -> onnx.ModelProto:
    """With seeds, so that two models draw the same."""
    made: onnx.ModelProto = ir.to_proto(seeded(ir.from_proto(model)))
    return made


def assert_equal(results: list[Any], wanted: list[Any]) -> None:
    assert len(results) == len(wanted)
    for got, want in zip(results, wanted, strict=True):
        if isinstance(want, list):
            assert_equal(got, want)
        elif want.dtype.kind in "OUS":
            assert got.tolist() == want.tolist()
        else:
            assert (got.dtype, got.shape) == (want.dtype, want.shape)
            assert_near(got, want)


def assert_near(got: Array, want: Array) -> None:
    numbers = want.astype(np.float64)
    largest = np.abs(numbers[np.isfinite(numbers)]).max(initial=1.0)
    tolerance = TOLERANCES.get(want.dtype.name, 1e-5) * largest
    np.testing.assert_allclose(got.astype(np.float64), numbers, rtol=0.0, atol=tolerance)


def test_every_row_has_a_name_of_its_own() -> None:
    assert len(ROWS) == len(list(zoo()))


def test_the_zoo_can_be_written_out(tmp_path: Path) -> None:
    count = write(tmp_path / "zoo")
    assert len(list((tmp_path / "zoo").iterdir())) == count == len(ROWS)


def operator_counts() -> Mapping[str, int]:
    return {name: len(row.model.graph.node) for name, row in ROWS.items()}


def test_every_model_is_small() -> None:
    assert max(operator_counts().values()) < 40
