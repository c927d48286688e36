"""Read ahead with threads."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def mapped_ahead(function: Callable[[T], R], values: Iterable[T], workers: int) -> Iterator[R]:
    """`map`, with up to `workers` results made beforehand, in order; an error comes where its result would.

    `values` are drawn by the caller's thread. Memory is that of `workers` + 1 results.
    """
    if not workers:
        yield from map(function, values)
        return
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, "onnx-nepenthe-data")
    try:
        for value in values:
            pending.append(pool.submit(function, value))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class Quiet:
    """No warnings while any thread is inside.

    `warnings.catch_warnings` alone restores what another thread set, in whichever order they leave.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(None, None, None)
