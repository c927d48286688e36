"""Choosing options: shortest paths, shared values paid once, what is required always there."""

from __future__ import annotations

from onnx_nepenthe.cheapest import MOST_WORK, Option, cheapest


def keep(price: float, *needs: str) -> Option:
    return Option(price, needs, None)


def jump(price: float, source: str) -> Option:
    return Option(price, (source,), source)


def sources(found: dict[str, Option]) -> dict[str, str | None]:
    return {name: option.source for name, option in found.items()}


def test_nothing_required_is_nothing_computed() -> None:
    assert cheapest({"a": (keep(1, "x"),)}, ()) == {}
    assert cheapest({}, {"x"}) == {}


def test_only_what_is_needed_is_computed_and_in_order() -> None:
    options = {"a": (keep(1, "x"),), "b": (keep(1, "x"),), "c": (keep(1, "a"),)}
    assert list(cheapest(options, {"c"})) == ["a", "c"]


def test_the_first_of_equal_options_wins() -> None:
    options = {"a": (keep(1, "x"),), "b": (keep(1, "a"), jump(2, "x"))}
    assert sources(cheapest(options, {"b"})) == {"a": None, "b": None}


def test_required_values_cost_their_users_nothing() -> None:
    options = {"a": (keep(10, "x"),), "b": (keep(2, "a"), jump(3, "x"))}
    assert sources(cheapest(options, {"a", "b"})) == {"a": None, "b": None}
    assert sources(cheapest(options, {"b"})) == {"b": "x"}


def test_a_value_on_the_way_past_a_required_one_is_shared() -> None:
    """r needs p in any case, so that jumping over r to p costs only the jump."""
    options = {
        "p": (keep(5, "x"),),
        "r": (keep(1, "p"), jump(5.5, "x")),
        "t": (keep(4, "r"), jump(1, "p"), jump(4.5, "x")),
    }
    assert sources(cheapest(options, {"r", "t"})) == {"p": None, "r": None, "t": "p"}


def test_far_too_many_shared_values_are_still_never_dearer_than_all_kept() -> None:
    """A ladder of diamonds, each of which would be paid twice."""
    count = int(MOST_WORK**0.5)
    options, last = {}, "x"
    for at in range(count):
        names = [f"{letter}{at}" for letter in "abc"]
        options[names[0]] = (keep(4, last),)
        options[names[1]] = (keep(1, last),)
        options[names[2]] = (keep(1, *names[:2]), jump(7, last))
        last = names[2]
    found = cheapest(options, {last})
    assert sum(option.price for option in found.values()) == 6 * count
