"""Which table of operator costs a run uses: this machine's, or one that was measured on another device."""

from __future__ import annotations

from pathlib import Path

from onnx_nepenthe.errors import UnreadableError
from onnx_nepenthe.latency import OperatorTable
from onnx_nepenthe.options import Options

DEFAULT_BUDGET_S = 0.03


def operator_table(options: Options, budget_s: float = DEFAULT_BUDGET_S) -> OperatorTable:
    """The table that `options` name, or one that measures here.

    Args:
        options: of the run.
        budget_s: seconds of timing per model that is measured.

    Raises:
        UnreadableError: the file is no table.
    """
    if options.latency_table is None:
        return OperatorTable(options.config, folder=options.cache, budget_s=budget_s)
    table = OperatorTable(options.config, budget_s=budget_s)
    try:
        table.adopt(Path(options.latency_table).read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableError(f"{options.latency_table} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError(
            f"{options.latency_table} is no latency table: {error}; `bench --table` writes one"
        ) from error
    return table
