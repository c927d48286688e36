"""The price in words, in tables, in JSON and on the page."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from onnx_nepenthe.report.html import page_from
from onnx_nepenthe.report.json import record_of_outcome
from onnx_nepenthe.report.price import price_words
from onnx_nepenthe.report.terminal import print_outcome
from onnx_nepenthe.report.words import closing_line
from tests.helpers import outcomes

PRICED = dataclasses.replace(outcomes.outcome(), price=outcomes.price())


def test_the_record_has_every_number() -> None:
    record = record_of_outcome(PRICED)["price"]
    assert set(record) == {
        *("metric", "before", "after", "drop", "low", "high", "samples", "allowed", "tuning_drop", "considered"),
        *("substitutes", "refits"),
    }
    assert record["substitutes"][0]["residual"] == 0.06
    assert record_of_outcome(outcomes.outcome())["price"] is None


def test_the_terminal_says_what_was_paid_and_bought() -> None:
    stream = io.StringIO()
    print_outcome(Console(file=stream, width=80, highlight=False, markup=False, emoji=False), PRICED)
    text = " ".join(stream.getvalue().split())
    assert "Paid 0.60 of 1 points of top1 (95 % interval -0.10 to 1.30) on 360 verification samples" in text
    assert "bought 1 fitted operator for 2 rectifiers" in text
    assert max(map(len, stream.getvalue().splitlines())) <= 80
    assert "\x1b" not in stream.getvalue()


def test_the_page_has_a_price_and_escapes_it() -> None:
    page = page_from(record_of_outcome(PRICED))
    assert '<section aria-labelledby="price">' in page
    assert "paid 0.60 of 1 points".capitalize() in page
    assert "<script>alert" not in page
    assert '<section aria-labelledby="price">' not in page_from(record_of_outcome(outcomes.outcome()))


def test_the_last_line_says_what_was_paid() -> None:
    assert "paid 0.60 points of top1 (-0.10 to 1.30)" in closing_line(PRICED, "m", None)
    assert "paid" not in closing_line(outcomes.outcome(), "m", None)


@pytest.mark.parametrize(("allowed", "words"), [(1.0, "paid 0.60 of 1 points"), (None, "paid 0.60 points")])
def test_a_target_speedup_has_no_allowance(allowed: float | None, words: str) -> None:
    assert words in price_words(dataclasses.replace(outcomes.price(), allowed=allowed))
