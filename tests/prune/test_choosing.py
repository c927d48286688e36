"""Methods and options by name, from text."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from onnx_nepenthe.errors import UsageError
from onnx_nepenthe.prune.choosing import config_of, method_of, options_of
from onnx_nepenthe.prune.methods import METHODS


@pytest.mark.parametrize("name", list(METHODS))
def test_every_default_as_text_gives_the_default(name: str) -> None:
    method = method_of(name)
    texts = {option: default for option, (default, _) in options_of(method).items() if default}
    assert config_of(method, texts) == method.config()
    assert all(doc for _, doc in options_of(method).values())


def test_text_becomes_the_type_of_the_option() -> None:
    egp = method_of("egp")
    assert config_of(egp, {"fraction": "0.25", "rounds": "3", "guard": "no", "tie": "drop"}) == egp.config(
        fraction=0.25, rounds=3, guard=False, tie="drop"
    )
    assert config_of(egp, {"fraction": "sap"}).fraction == "sap"


def test_no_guard_switches_off_every_guard_there_is() -> None:
    for name in METHODS:
        config = config_of(method_of(name), {}, guard=False)
        assert not getattr(config, "guard", False)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"fractoin": "1"}, "did you mean 'fraction'"),
        ({"rounds": "many"}, "egp: rounds is 'many'; give a whole number"),
        ({"fraction": "half"}, "give a number or 'sap'"),
        ({"guard": "perhaps"}, "give true or false"),
        ({"rounds": "0"}, "rounds is 0"),
    ],
)
def test_what_is_no_option_or_no_value_is_named(texts: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        config_of(method_of("egp"), texts)


def test_an_unknown_method_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no method is called 'nepente'; did you mean 'nepenthe'\?"):
        method_of("nepente")
