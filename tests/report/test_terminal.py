"""Reports as text: golden, within 80 columns, safe against what labels hold."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from onnx_nepenthe.cutting import Cut
from onnx_nepenthe.evidence import Observed
from onnx_nepenthe.latency import Footprint, Quantiles, Timing
from onnx_nepenthe.linearise import PAY, Undecided
from onnx_nepenthe.outcome import Inspection, Outcome, Refusal
from onnx_nepenthe.report.console import make_console
from onnx_nepenthe.report.grid import places, print_line
from onnx_nepenthe.report.terminal import MOST_ROWS, print_inspection, print_outcome, print_verdict
from onnx_nepenthe.report.timings import bench_line, print_timings
from onnx_nepenthe.report.words import bounds_words, closing_line, comparison_line, inspection_line, next_step
from onnx_nepenthe.rewrite import Rewrite
from onnx_nepenthe.steps import Step
from tests.helpers import outcomes

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
TIMINGS = (
    Timing("model.onnx", 10.0, 1, Quantiles(1.5, 2.0, 123.0, 1000), memory=Footprint(123_456_789, 234_567_890)),
    Timing(
        "a/very/long/folder/name/model.collapsed.onnx", 9.0, 1, Quantiles(1.0, 1.2, 2.0, 1500), outcomes.comparison()
    ),
)
MACHINE = {"provider": "cpu", "threads": 0}


def printed(write: Callable[[Console], None]) -> str:
    stream = io.StringIO()
    write(Console(file=stream, width=80, highlight=False, markup=False, emoji=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


REPORTS: dict[str, Callable[[Console], None]] = {
    "collapse": lambda console: print_outcome(console, outcomes.outcome()),
    "nothing": lambda console: print_outcome(console, outcomes.outcome(collapsed=False)),
    "inspect": lambda console: print_inspection(console, outcomes.inspection()),
    "verify": lambda console: print_verdict(console, outcomes.verdict(passed=False)),
    "bench": lambda console: print_timings(console, TIMINGS, MACHINE),
    "many": lambda console: print_outcome(console, outcomes.outcome(100)),
    "all": lambda console: print_outcome(console, outcomes.outcome(100), everything=True),
}


@pytest.mark.parametrize("name", ["collapse", "inspect", "verify", "bench", "many"])
def test_the_report_is_the_golden_one(name: str) -> None:
    """`UPDATE_GOLDEN=1 pytest` writes them anew; read the difference before it is committed."""
    file = GOLDEN / f"{name}.txt"
    text = printed(REPORTS[name])
    if os.environ.get("UPDATE_GOLDEN") == "1":
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", REPORTS)
def test_every_line_fits_80_columns_and_holds_no_control_character(name: str) -> None:
    lines = printed(REPORTS[name]).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if not line.isprintable()] == []


def test_many_rectifiers_are_summed_up_unless_everything_is_wanted() -> None:
    assert len(outcomes.outcome(100).inspection.rows) > MOST_ROWS
    few, everything = printed(REPORTS["many"]), printed(REPORTS["all"])
    assert "layer1/relu" not in few.split("Rewrites", maxsplit=1)[0]
    assert everything.split("Rewrites", maxsplit=1)[0].count("layer1/relu") == 100
    assert len(few.splitlines()) < 60 < len(everything.splitlines())


def test_markup_in_labels_stays_as_it_is() -> None:
    assert "[bold]" in printed(REPORTS["collapse"])


def test_long_labels_keep_both_ends() -> None:
    text = printed(REPORTS["inspect"])
    assert "encoder" in text
    assert "Gelu_output" in text


def test_places_are_counted_when_there_are_more() -> None:
    assert places(list("abcd"), 5) == "a\nb\nc\nd", "one more line says as much as 'and 1 more'"
    assert places(list("abcde"), 5) == "a\nb\nc\nand 2 more"


def test_a_piped_console_has_no_colours_and_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    console = make_console()
    assert (console.is_terminal, console.width) == (False, 80)


def test_no_color_is_honoured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def coloured() -> str:
        stream = io.StringIO()
        print_outcome(Console(file=stream, width=80, force_terminal=True, color_system="standard"), outcomes.outcome())
        return stream.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m" in coloured()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in coloured()


def test_the_last_line_stays_one_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(make_console(), "x " * 100)
    assert capsys.readouterr().out.count("\n") == 1


def test_the_last_line_wraps_between_words_on_a_terminal() -> None:
    stream = io.StringIO()
    print_line(Console(file=stream, width=80, force_terminal=True), "twelve chars " * 20)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert {line.strip()[-5:] for line in lines} == {"chars"}


def test_the_closing_line_warns_where_few_samples_decided() -> None:
    found = outcomes.outcome()
    enough = dataclasses.replace(found, inspection=dataclasses.replace(found.inspection, samples=60))
    assert closing_line(enough, "m", None).endswith("verified on 60 samples")
    proved = dataclasses.replace(
        found, inspection=dataclasses.replace(found.inspection, rows=found.inspection.rows[1:])
    )
    assert closing_line(proved, "m", None).endswith("verified on 60 samples")
    grounds = Cut("fc", "fc", 1, (), (), (), (), Observed(30, 1, 30))
    cut = dataclasses.replace(proved, steps=(Step(cuts=(grounds,)),))
    assert closing_line(cut, "m", None).endswith("verified on 60 samples, decided on 30 samples only")


def test_fewer_channels_alone_are_fewer_parameters() -> None:
    found = outcomes.outcome()
    before = found.inspection.side
    after = dataclasses.replace(before, size=dataclasses.replace(before.size, parameters=before.size.parameters - 1500))
    line = closing_line(dataclasses.replace(found, after=after), "m", None)
    assert line.startswith(
        f"collapsed: parameters {before.size.parameters:,} → {after.size.parameters:,}, 1.50x faster"
    )


def test_the_closing_line_says_what_was_written_or_what_to_try() -> None:
    line = closing_line(outcomes.outcome(), "m.onnx", Path("out.onnx"))
    assert line == (
        "out.onnx written: rectifiers 5 → 4, weighted depth 6 → 5, nodes 20 → 17, 1.50x faster, verified on 60 "
        "samples, decided on 30 samples only"
    )
    nothing = closing_line(outcomes.outcome(collapsed=False), "m.onnx", Path("out.onnx"))
    assert nothing == (
        "nothing could be collapsed (channels change regime, in 2 places); out.onnx is a copy of m.onnx. Next: prune"
    )
    assert "the model that came in" in closing_line(outcomes.outcome(collapsed=False), "m", None)


def refused(*refusals: Refusal) -> Outcome:
    """A run on a model without rectifiers that did nothing for these reasons."""
    bare = dataclasses.replace(outcomes.inspection(), rows=(), refusals=())
    return dataclasses.replace(outcomes.outcome(collapsed=False), inspection=bare, refusals=refusals)


@pytest.mark.parametrize(
    ("refusals", "line"),
    [
        ((), "nothing could be collapsed (no rectifier is a line and no linear operators follow each other); out"),
        (
            (Refusal("a", "reader", "its weights are not constant", "--freeze-initializers fixes them"),),
            "nothing could be collapsed (its weights are not constant); out is a copy of m. "
            "Next: --freeze-initializers fixes them",
        ),
        (
            (Refusal("a", "reader", "its axes do not exist"),),
            "nothing could be collapsed; out is a copy of m. Nothing is known that would change that; -v lists every",
        ),
        (
            (
                *(Refusal(where, "rectifier", "no proof without data", "give --data") for where in "ab"),
                Refusal("latency", "model", "no kernel for Odd", "install what is named"),
            ),
            "nothing could be collapsed (no kernel for Odd); out is a copy of m. Next: install what is named",
        ),
    ],
)
def test_the_last_line_names_the_reason_and_what_to_try(refusals: tuple[Refusal, ...], line: str) -> None:
    assert closing_line(refused(*refusals), "m", Path("out")).startswith(line)


def test_what_was_paid_is_checked_and_more_would_help_more() -> None:
    busy = outcomes.rows()[2]
    assert isinstance(busy.found, Undecided)
    found = dataclasses.replace(busy.found, refusal=dataclasses.replace(busy.found.refusal, lift=PAY))
    inspection = dataclasses.replace(outcomes.inspection(), rows=(dataclasses.replace(busy, found=found),), refusals=())
    paid = dataclasses.replace(outcomes.outcome(), inspection=inspection, price=outcomes.price(), verdict=None)
    assert closing_line(paid, "m", Path("out")).endswith("checked on 360 samples kept apart")
    assert next_step(inspection, dataclasses.replace(paid, refusals=())) == "pay for it with more than --max-drop 1"
    target = dataclasses.replace(paid, refusals=(), price=dataclasses.replace(outcomes.price(), allowed=None))
    assert next_step(inspection, target) == "pay for it with a higher --target-speedup"


def test_seen_is_said_to_be_no_proof_and_what_it_is_worth() -> None:
    words = bounds_words([Observed(30_000, 300, 64), Observed(3_000, 300, 4)])
    assert "at most 0.1 % of observations" in words
    assert "at most 1 % of samples" in words
    assert "3,000 samples would make that 0.1 %" in words
    assert "would make" not in bounds_words([Observed(30_000, 3_000, 1)])
    assert bounds_words([Observed(300)]).endswith("at most 1 % of observations like these")


def without_data(lift: str) -> Inspection:
    found = outcomes.inspection()
    undecided = found.rows[2]
    refusal = dataclasses.replace(undecided.found.refusal, reason="no proof without data", lift=lift)
    row = dataclasses.replace(undecided, counts=None, found=dataclasses.replace(undecided.found, refusal=refusal))
    return dataclasses.replace(found, rows=(row,), refusals=(), samples=0)


def test_the_next_step_is_what_lifts_most() -> None:
    found = outcomes.outcome(collapsed=False)
    assert next_step(found.inspection, found) == "prune"
    slower = dataclasses.replace(found, refusals=found.refusals * 3)
    assert next_step(found.inspection, slower) == "prune", "not what makes it slower, as long as there is anything else"
    only = dataclasses.replace(found.inspection, rows=(), refusals=())
    assert next_step(only, slower) == "--latency off takes it"


def test_data_come_first_where_there_are_none() -> None:
    bare = without_data("give --data, or --input-range if the inputs are bounded")
    other = Refusal("a", "reader", "its opset is older than 7", "convert the model with onnx.version_converter")
    many = dataclasses.replace(outcomes.outcome(collapsed=False), inspection=bare, refusals=(other,) * 9)
    assert next_step(bare, many).startswith("give --data")
    assert next_step(dataclasses.replace(bare, samples=30), many).startswith("convert")


def test_weights_that_nobody_may_read_come_before_data_where_they_stop_more() -> None:
    bare = without_data("give --data")
    frozen = Refusal("a", "reader", "its weights are not constant", "--freeze-initializers fixes them")
    many = dataclasses.replace(outcomes.outcome(collapsed=False), inspection=bare, refusals=(frozen,) * 9)
    assert next_step(bare, many) == "--freeze-initializers fixes them"
    assert next_step(bare, dataclasses.replace(many, refusals=())) == "give --data"


def test_the_next_step_is_data_when_there_were_none() -> None:
    assert next_step(without_data("give --data")) == "give --data"
    assert inspection_line(without_data("give --data")).endswith("can be a line. Next: give --data")
    assert next_step(dataclasses.replace(outcomes.inspection(), rows=(), refusals=())) == ""


def test_an_inspection_says_how_many_can_go() -> None:
    assert inspection_line(outcomes.inspection()).startswith("2 of 4 rectifiers in models/made-up.onnx can be a line")
    assert "no rectifier" in inspection_line(dataclasses.replace(outcomes.inspection(), rows=()))


def test_two_models_are_the_same_or_not() -> None:
    assert comparison_line(outcomes.verdict(), "a", "b") == "b computes what a computes (verified on 60 samples)"
    assert comparison_line(outcomes.verdict(passed=False), "a", "b").startswith("b does NOT compute what a computes: ")


@pytest.mark.parametrize(
    ("speedup", "words"),
    [(1.5, "1.50x faster than"), (0.5, "2.00x slower than"), (1.0, "not clearly faster or slower")],
)
def test_the_bench_line_compares_with_the_first(speedup: float, words: str) -> None:
    second = dataclasses.replace(TIMINGS[1], against_first=outcomes.comparison(speedup))
    assert words in bench_line((TIMINGS[0], second))
    assert bench_line(TIMINGS[:1]) == "model.onnx: 1.50 ms (1,000 calls)"


def test_operators_that_are_fitted_anew_are_one_row() -> None:
    found = outcomes.outcome()
    refits = tuple(Rewrite(f"v{at}", "x", (f"conv{at}",), f"v{at}", "refitted") for at in range(13))
    many = dataclasses.replace(found, rewrites=(*found.rewrites, *refits, found.rewrites[0]))
    text = printed(lambda console: print_outcome(console, many))
    assert "refitted, 13 times" in text
    assert "and 10 more" in text
    assert text.count("refitted") == 1
    timed = dataclasses.replace(many, speedups=dict(found.speedups) | {"v12": 1.5})
    assert "refitted, 12 times" in printed(lambda console: print_outcome(console, timed))
    assert printed(lambda console: print_outcome(console, many, everything=True)).count("refitted") == 13
