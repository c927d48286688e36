"""Settings of the tests of the PyTorch half."""

import importlib.util
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums do not depend on how many cores a machine has, and tests that run side by side do not slow each other."""
    # Tests that need numpy alone run without torch as well.
    if importlib.util.find_spec("torch") is None:
        yield
        return
    torch = importlib.import_module("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
