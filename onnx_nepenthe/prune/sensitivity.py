"""What the loss becomes when one site alone becomes a line: measured, site by site."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from onnx_nepenthe.prune.lines import line_of
from onnx_nepenthe.prune.records import BoolArray, SiteStatistics
from onnx_nepenthe.prune.subject import Subject


def sensitivities(
    subject: Subject,
    statistics: Mapping[str, SiteStatistics],
    loss: Callable[[], float],
    off: Mapping[str, BoolArray] | None = None,
) -> dict[str, float]:
    """Name of every prunable site that is no line → loss with it as a line, minus the loss as it is.

    The line is the one it would become: of its one exact piece, or fitted to its sums. Source: ALGORITHMS.md §8.

    Args:
        subject: left as it was.
        statistics: name of the site → counts and sums.
        loss: of the subject's module as it is now, on the same samples every time.
        off: name of the site → bool (channels,), channels that would become 0 with it (TLC, ALGORITHMS.md §7).
    """
    before = loss()
    found = {}
    for site in subject.prunable():
        if subject.is_linear(site.name) or site.name not in statistics:
            continue
        with as_line(subject, site.name, statistics[site.name], (off or {}).get(site.name)):
            found[site.name] = loss() - before
    return found


@contextmanager
def as_line(subject: Subject, name: str, statistics: SiteStatistics, off: BoolArray | None = None) -> Iterator[None]:
    """The site of this name is a line inside, 0 in the channels that are `off`, and what it was afterwards."""
    rectifier = subject.rectifier(name)
    kept = {key: value.clone() for key, value in rectifier.state_dict().items()}
    rectifier.set_line(*line_of(rectifier, statistics))
    if off is not None:
        rectifier.turn_off(off)
    try:
        yield
    finally:
        rectifier.load_state_dict(kept)
