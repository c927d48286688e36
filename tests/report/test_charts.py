"""What charts are drawn from: short, and the same as in the record."""

from __future__ import annotations

import dataclasses

from onnx_nepenthe.report.charts import finding, latency, layers, quantile_rows, regimes_of_channels, share_words
from onnx_nepenthe.report.json import latency_record, plain, record_of_outcome
from tests.helpers import outcomes

ROWS = plain(record_of_outcome(outcomes.outcome()))["rectifier_rows"]


def test_every_rectifier_is_a_layer_with_its_channels() -> None:
    found = layers(ROWS)
    assert [layer["at"] for layer in found] == [1, 2, 3, 4]
    assert [layer["status"] for layer in found] == ["removed", "linear", "stays", "stays"]
    assert found[0]["each"] == {
        "first": "OFF",
        "others": {"ON": [1.0, 1.0, 1.0, 0.0]},
        "regime": ["ON", "ON", "ON", "OFF"],
        "evidence": "oooo",
    }
    assert found[2]["each"]["evidence"] == "--"
    assert list(found[3]["each"]["others"]) == ["curved", "ON"]


def test_what_was_removed_for_a_price_is_told_apart() -> None:
    (layer,) = layers([ROWS[2] | {"status": "removed", "evidence": {"kind": "fitted", "residual": 0.1}}])
    assert (layer["status"], layer["finding"]) == ("bought", "removed: fitted, residual 0.1")


def test_a_rectifier_that_was_not_counted_has_no_shares() -> None:
    bare = dataclasses.replace(outcomes.inspection(), rows=(dataclasses.replace(outcomes.rows()[0], counts=None),))
    row = plain(record_of_outcome(dataclasses.replace(outcomes.outcome(), inspection=bare)))["rectifier_rows"][0]
    (layer,) = layers([row])
    assert (layer["bits"], layer["shares"], layer["each"]["first"], layer["each"]["others"]) == (None,) * 4
    assert share_words(row) == "no data"


def test_findings_say_what_became_of_it_and_why() -> None:
    assert finding(ROWS[0]) == "removed: seen 300 times per channel, flips in under 1 % (95 %)"
    assert finding(ROWS[1]) == "a line, still there: proved, z in [0, inf)"
    assert finding(ROWS[2]) == "stays: 2 of 2 channels change regime (entropy 0.906 bits)"
    assert regimes_of_channels(ROWS[2]) == "2 changing"


def test_only_what_was_timed_pair_by_pair_is_drawn() -> None:
    timed = plain(latency_record(outcomes.comparison()))
    assert latency(timed) == {
        name: timed[name] for name in ("each_ms", "speedup", "low", "high", "control_low", "control_high")
    }
    assert latency(plain(latency_record(None))) is None
    assert latency(timed | {"each_ms": []}) is None, "from a table of costs"
    rows = quantile_rows(timed)
    assert [row[0] for row in rows] == ["input", "result", "input again (control)"]
    assert rows[0][2] == "1.50 ms"
