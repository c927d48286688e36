"""Runners that do less than measuring takes: what the least possible costs."""

from __future__ import annotations

from onnx_nepenthe.graph.edit import Editor
from onnx_nepenthe.graph.probe import Taps, has_peaks
from onnx_nepenthe.measure.runner import Feeds, Runner
from onnx_nepenthe.session import Session, open_session
from onnx_nepenthe.sources import Batch


class FollowsAll(Runner):
    """A scan of a model whose every rectifier stays open: what a scan costs at most."""

    def _narrow(self) -> None:
        pass


class ByResults(FollowsAll):
    """Follows every rectifier by its results where it can: dead or alive, and nothing else."""

    def _open(self) -> tuple[Session, tuple[Taps, ...]]:
        self._peaks = {target.key for target in self._active if has_peaks(self._job.view, target)}
        return super()._open()


class ReadsOnce(Runner):
    """One maximum of all elements of every value before a rectifier: no statistic of these values costs less."""

    def add(self, batch: Batch, feeds: Feeds, *, padded: bool) -> None:
        """Run once, and read what comes back."""
        for value in self._session.run_bound(feeds, self._names):
            self.returned_bytes += value.read().nbytes

    def _open(self) -> tuple[Session, tuple[Taps, ...]]:
        editor, targets = Editor(self._job.model), self._job.targets
        graph = editor.value(targets[0].value).graph
        assert graph is not None
        graph.outputs.clear()
        for target in reversed(targets):
            value = editor.value(target.value)
            editor.output(editor.node("ReduceMax", [value], {"keepdims": 0}, hint=target.key, like=value))
        self._names = [output.name for output in graph.outputs if output.name]
        return open_session(editor.finish(), self._job.config), ()
