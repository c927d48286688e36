"""A tape gives what whole runs give, wherever it is."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnx_nepenthe import tape as module
from onnx_nepenthe.graph.snippet import with_outputs
from onnx_nepenthe.session import open_session
from onnx_nepenthe.sweeping import Care, sweep
from onnx_nepenthe.tape import Tape
from onnx_nepenthe.workshop import Made, Workshop
from tests.helpers.build import Builder
from tests.helpers.shops import data, residual_network, shop_of, substitute


@pytest.fixture(scope="module")
def shop() -> Workshop:
    return shop_of(residual_network(3))


@pytest.fixture(scope="module")
def made(shop: Workshop) -> tuple[Made, ...]:
    one = substitute(shop, "stem", "sum0", "conv1")
    return sweep(shop, [one], shop.tape("fitting", 16), Care(8.0, 0))


def values(tape: Tape, shop: Workshop, made: tuple[Made, ...], *names: str) -> list[np.ndarray]:
    found = list(tape.values(names, names, shop.regions(made)))
    joined = [np.concatenate([pair[which][name] for pair in found]) for which in (0, 1) for name in names]
    return [*joined]


def test_behind_a_value_it_gives_what_whole_runs_give(shop: Workshop, made: tuple[Made, ...]) -> None:
    tape = shop.tape("fitting", 40)
    whole = values(tape, shop, made, "sum1", "block2")
    assert tape.advance("block0", shop.regions(made))
    assert tape.at == "block0"
    for behind, full in zip(values(tape, shop, made, "sum1", "block2"), whole, strict=True):
        assert len(behind) == 40
        np.testing.assert_allclose(behind, full, atol=1e-5)
    assert np.abs(whole[0] - whole[2]).max() > 1e-3, "the changed model is another one"


def test_what_is_at_hand_is_given_as_it_is(shop: Workshop, made: tuple[Made, ...]) -> None:
    tape = shop.tape("fitting", 10)
    session = open_session(with_outputs(shop.findings.model, ["block0"]), shop.options.config)
    tape.advance("block0", ())
    assert tape.at == "block0"
    ((now, then),) = tape.values(["block0"], ["block0"], ())
    assert now["block0"] is not None
    np.testing.assert_array_equal(now["block0"], then["block0"])
    feeds = next(iter(shop.findings.source.batches(10, "fitting", 10))).feeds  # type: ignore[union-attr]
    np.testing.assert_allclose(then["block0"], session.run(feeds)[0], atol=1e-5)


def test_forks_go_their_own_way(shop: Workshop) -> None:
    tape = shop.tape("fitting", 10)
    tape.advance("stem", ())
    other = tape.fork()
    other.advance("block1", ())
    assert (tape.at, other.at) == ("stem", "block1")


def test_what_is_too_large_is_computed_again(
    shop: Workshop, made: tuple[Made, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    tape = shop.tape("fitting", 40)
    monkeypatch.setattr(module, "KEPT_BYTES", 1000)
    assert not tape.advance("block0", ())
    assert tape.at == ""
    assert len(values(tape, shop, made, "sum1")[0]) == 40


def test_a_value_that_is_not_enough_is_refused(shop: Workshop) -> None:
    tape = shop.tape("fitting", 10)
    assert not tape.advance("inside1", ()), "the skip goes past it"
    assert tape.at == ""


def test_the_stem_is_what_every_path_passes(shop: Workshop) -> None:
    assert shop.stem[:2] == ("x", shop.findings.view.op_of("stem").inputs[0].name)  # type: ignore[union-attr]
    assert {"stem", "sum0", "block0", "sum1", "block2"} <= set(shop.stem)
    assert not {"inside0", "inside1", *shop.findings.view.outputs} & set(shop.stem)


def test_two_inputs_have_no_stem_before_they_meet() -> None:
    b = Builder(np.random.default_rng(0))
    total = b.node("Add", b.node("Relu", "a"), b.node("Relu", "b"), out="total")
    model = b.model({"a": ("N", 4), "b": ("N", 4)}, [b.gemm(b.node("Relu", total, out="after"), (4, 2))])
    arrays = np.random.default_rng(1).standard_normal((2, 50, 4)).astype(np.float32)
    shop = shop_of(model, data={"a": arrays[0], "b": arrays[1]})
    assert shop.stem == ("total", "after")
    tape = shop.tape("tuning", None)
    whole = values(tape, shop, (), "after")
    assert tape.advance("after", ())
    np.testing.assert_array_equal(values(tape, shop, (), "after")[0], whole[0])


def test_a_fixed_batch_is_filled_up_and_cut_again() -> None:
    proto = residual_network(1)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 16
    shop = shop_of(proto, data=data(75))
    tape = shop.tape("fitting", None)
    assert len(values(tape, shop, (), "block0")[0]) == 15
    assert tape.advance("stem", ())
    assert len(values(tape, shop, (), "block0")[0]) == 15
    assert isinstance(shop.findings.model, ir.Model)
