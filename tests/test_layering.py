"""The layers hold: a module imports only from rows above its own, and third-party packages only through their door."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import onnx_nepenthe

PACKAGE = Path(onnx_nepenthe.__file__).parent
ROOT = PACKAGE.name

# Each entry is a module or a whole sub-package. Inside its own package a module may import siblings.
ROWS: tuple[tuple[str, ...], ...] = (
    ("errors", "registry", "drafts", "typed"),
    ("opview", "regimes", "evidence", "information", "sums", "providers", "dominance"),
    ("affine", "activations", "ops"),
    ("graph", "session", "starting", "sources"),
    (
        *("rectifiers", "proving", "emit"),
        *("measure", "prove", "linearise", "fit", "regions", "latency", "plan", "rewrite", "sketch", "verify"),
        *(
            "costs",
            "trial",
            "options",
            "outcome",
            "charting",
            "prices",
            "rules",
            "cheapest",
            "ways",
            "lifting",
            "cutting",
            "drift",
            "steps",
            "recipe",
            "tables",
        ),
        *("substitutes", "metrics", "knapsack", "slimming", "normal", "kinds", "spans", "depthwise", "frontier"),
        *("unmerged", "onesided", "elimination", "refitting", "fitters", "scale", "lines"),
    ),
    (
        *("report", "pipeline", "inspection", "samples", "candidate", "checking", "assuming", "narrowing"),
        *("run", "verification", "benchmark", "measuring", "blaming"),
        *(
            "workshop",
            "spending",
            "budget",
            "billing",
            "budgeted",
            "replaying",
            "parts",
            "tabling",
            "preparing",
            "subgraphs",
        ),
        *("exploring", "publishing", "judging", "tape", "sweeping", "pricing", "composing"),
    ),
    ("cli", "olive"),
)
# Where one entry takes what another makes (a reader returns a map, a stage reads the record of the one before it), the
# two share a row. These edges and no others; together they form no cycle.
WITHIN_A_ROW: frozenset[tuple[str, str]] = frozenset(
    {
        ("ops", "affine"),
        ("normal", "onesided"),
        ("fit", "onesided"),
        ("elimination", "normal"),
        ("slimming", "elimination"),
        ("refitting", "charting"),
        ("refitting", "fit"),
        ("refitting", "onesided"),
        ("refitting", "rectifiers"),
        ("refitting", "regions"),
        ("substitutes", "refitting"),
        ("fitters", "depthwise"),
        ("fitters", "fit"),
        ("fitters", "kinds"),
        ("fitters", "lines"),
        ("lines", "fit"),
        ("refitting", "lines"),
        ("fitters", "refitting"),
        ("fitters", "slimming"),
        ("fitters", "substitutes"),
        ("judging", "inspection"),
        ("judging", "samples"),
        ("workshop", "judging"),
        ("workshop", "tape"),
        ("sweeping", "tape"),
        ("sweeping", "workshop"),
        ("composing", "workshop"),
        ("pricing", "composing"),
        ("pricing", "spending"),
        ("pricing", "sweeping"),
        ("pricing", "tape"),
        ("pricing", "workshop"),
        ("budget", "sweeping"),
        ("budgeted", "pricing"),
        ("substitutes", "fit"),
        ("substitutes", "kinds"),
        ("substitutes", "depthwise"),
        ("depthwise", "fit"),
        ("depthwise", "normal"),
        ("substitutes", "spans"),
        ("kinds", "charting"),
        ("kinds", "fit"),
        ("kinds", "linearise"),
        ("substitutes", "linearise"),
        ("kinds", "normal"),
        ("kinds", "plan"),
        ("kinds", "rectifiers"),
        ("kinds", "regions"),
        ("kinds", "spans"),
        ("substitutes", "rectifiers"),
        ("knapsack", "substitutes"),
        ("workshop", "inspection"),
        ("workshop", "samples"),
        ("spending", "workshop"),
        ("budget", "inspection"),
        ("budget", "samples"),
        ("budget", "spending"),
        ("budget", "workshop"),
        ("budgeted", "inspection"),
        ("steps", "cutting"),
        ("steps", "plan"),
        ("steps", "rewrite"),
        ("outcome", "steps"),
        ("recipe", "cutting"),
        ("recipe", "outcome"),
        ("recipe", "plan"),
        ("recipe", "steps"),
        ("replaying", "billing"),
        ("replaying", "checking"),
        ("replaying", "inspection"),
        ("replaying", "samples"),
        ("replaying", "spending"),
        ("replaying", "workshop"),
        ("run", "replaying"),
        ("slimming", "fit"),
        ("slimming", "plan"),
        ("slimming", "rectifiers"),
        ("substitutes", "slimming"),
        ("fit", "normal"),
        ("tables", "latency"),
        ("tables", "options"),
        ("workshop", "parts"),
        ("tabling", "inspection"),
        ("tabling", "narrowing"),
        ("tabling", "run"),
        ("tabling", "samples"),
        ("tabling", "workshop"),
        ("budgeted", "budget"),
        ("budgeted", "billing"),
        ("billing", "inspection"),
        ("billing", "spending"),
        ("billing", "workshop"),
        ("budgeted", "samples"),
        ("budgeted", "spending"),
        ("budgeted", "workshop"),
        ("pipeline", "budgeted"),
        ("pipeline", "preparing"),
        ("pipeline", "subgraphs"),
        ("subgraphs", "checking"),
        ("subgraphs", "inspection"),
        ("subgraphs", "samples"),
        ("preparing", "inspection"),
        ("preparing", "measuring"),
        ("preparing", "samples"),
        ("information", "regimes"),
        ("sums", "regimes"),
        ("measure", "rectifiers"),
        ("prove", "proving"),
        ("linearise", "rectifiers"),
        ("drift", "measure"),
        ("drift", "rectifiers"),
        ("options", "measure"),
        ("outcome", "measure"),
        ("outcome", "drift"),
        ("cutting", "linearise"),
        ("cutting", "rectifiers"),
        ("plan", "regions"),
        ("plan", "emit"),
        ("rewrite", "plan"),
        ("rewrite", "sketch"),
        ("rewrite", "emit"),
        ("pipeline", "report"),
        ("session", "graph"),
        ("session", "starting"),
        ("starting", "graph"),
        ("sources", "graph"),
        ("costs", "latency"),
        ("costs", "emit"),
        ("costs", "regions"),
        ("trial", "costs"),
        ("trial", "latency"),
        ("trial", "plan"),
        ("trial", "regions"),
        ("trial", "rewrite"),
        ("outcome", "latency"),
        ("outcome", "linearise"),
        ("outcome", "rectifiers"),
        ("outcome", "rewrite"),
        ("outcome", "verify"),
        ("frontier", "latency"),
        ("frontier", "outcome"),
        ("exploring", "billing"),
        ("exploring", "budgeted"),
        ("exploring", "spending"),
        ("publishing", "exploring"),
        ("publishing", "pipeline"),
        ("publishing", "report"),
        ("publishing", "run"),
        ("run", "pipeline"),
        ("run", "blaming"),
        ("verification", "blaming"),
        ("run", "report"),
        ("verification", "run"),
        ("verification", "inspection"),
        ("verification", "samples"),
        ("benchmark", "run"),
        ("inspection", "measuring"),
        ("pipeline", "inspection"),
        ("pipeline", "candidate"),
        ("pipeline", "checking"),
        ("pipeline", "samples"),
        ("samples", "inspection"),
        ("unmerged", "regions"),
        ("candidate", "inspection"),
        ("candidate", "samples"),
        ("candidate", "narrowing"),
        ("narrowing", "inspection"),
        ("narrowing", "samples"),
        ("checking", "narrowing"),
        ("checking", "assuming"),
        ("assuming", "inspection"),
        ("assuming", "narrowing"),
        ("pipeline", "narrowing"),
        ("checking", "inspection"),
        ("checking", "samples"),
        ("checking", "candidate"),
        ("charting", "linearise"),
        ("charting", "regions"),
        ("prices", "regions"),
        ("plan", "prices"),
        ("plan", "cheapest"),
        ("plan", "ways"),
        ("ways", "cheapest"),
        ("ways", "lifting"),
        ("plan", "lifting"),
        ("lifting", "cheapest"),
        ("lifting", "regions"),
        ("rewrite", "ways"),
        ("ways", "emit"),
        ("ways", "prices"),
        ("ways", "regions"),
        ("costs", "prices"),
    }
)
# The torch half stands beside the rows.
SIDE = "prune"
SIDE_MAY_IMPORT = frozenset({*ROWS[0], *ROWS[1], *ROWS[2], "sources"})
SIDE_IMPORTED_BY = "cli"
# The package itself may import `run` and `publishing`, inside functions only: `import onnx_nepenthe` stays light.
FACADE = ""
FACADE_MAY_IMPORT = frozenset({"publishing", "run"})
FACADE_GIVES = frozenset({"__version__"})

DOORS: dict[str, frozenset[str]] = {
    "onnx": frozenset({"graph"}),
    "onnx_ir": frozenset({"graph"}),
    "onnx_graphsurgeon": frozenset({"graph"}),
    "google": frozenset({"graph"}),
    "onnxruntime": frozenset({"session"}),
    "rich": frozenset({"report"}),
    "jinja2": frozenset({"report"}),
    "click": frozenset({"cli"}),
    "PIL": frozenset({"sources"}),
    "scipy": frozenset({"knapsack"}),
    "olive": frozenset({"olive"}),
    "torch": frozenset({SIDE}),
    "accelerate": frozenset({SIDE}),
}
ARRAYS = frozenset({"numpy", "ml_dtypes"})
ARRAYS_FROM_ROW = 1

MAX_BODY_LINES = 40
MAX_FILE_LINES = 250


def files(package: Path = PACKAGE) -> list[Path]:
    return sorted(package.rglob("*.py"))


def dotted(file: Path, package: Path) -> str:
    """`measure`, `graph.view`; "" for the package itself."""
    parts = file.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path, package: Path) -> Iterator[tuple[str, bool, int]]:
    """(absolute name, whether importing `file` leaves it for later, line) of everything `file` imports."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    late = {id(inner) for node in ast.walk(tree) if runs_late(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        for name in names_imported(node, dotted(file, package), is_package=file.name == "__init__.py"):
            yield name, id(node) in late, getattr(node, "lineno", 0)


def runs_late(node: ast.AST) -> bool:
    """Whether what is inside `node` is not run by importing the module."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=[]):
            return True
    return False


def names_imported(node: ast.AST, module: str, *, is_package: bool) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=source, names=names, level=level):
            base = source or ""
            if level:
                home = [ROOT, *filter(None, module.split("."))]
                home = home[: len(home) - (level - is_package)]
                base = ".".join([*home, *filter(None, [source])])
            return [f"{base}.{alias.name}" for alias in names]
        case ast.Call(func=ast.Name(id="__import__" | "import_module"), args=[ast.Constant(value=str(name)), *_]):
            return [name]
        case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
            return [name]
    return []


def row_of(entry: str) -> int | None:
    return next((number for number, row in enumerate(ROWS) if entry in row), None)


def fault_inside(importer: str, target: str, *, late: bool) -> str | None:
    """Why `importer` may not import the entry `target` of this package; None when it may."""
    if importer == target:
        return None
    if importer == FACADE:
        return (
            None
            if target in FACADE_MAY_IMPORT and late
            else "the package imports only `publishing` and `run`, inside functions"
        )
    if target == SIDE:
        allowed = importer == SIDE_IMPORTED_BY and late
        return None if allowed else f"only {SIDE_IMPORTED_BY} imports {SIDE}, inside functions"
    if importer == SIDE:
        return None if target in SIDE_MAY_IMPORT else f"{SIDE} imports rows 0-2 and sources only"
    own, other = row_of(importer), row_of(target)
    if own is None or other is None:
        return f"{target!r} is in no row"
    if other < own or (importer, target) in WITHIN_A_ROW:
        return None
    return f"row {own} imports from row {other}"


def fault_outside(importer: str, distribution: str) -> str | None:
    """Why `importer` may not import a package that is not ours; None when it may."""
    if distribution in sys.stdlib_module_names:
        return None
    if distribution in ARRAYS:
        allowed = importer == SIDE or (row_of(importer) or 0) >= ARRAYS_FROM_ROW
        return None if allowed else "row 0 needs no arrays"
    if distribution not in DOORS:
        return f"{distribution} has no door"
    return (
        None if importer in DOORS[distribution] else f"{distribution} is imported only by {sorted(DOORS[distribution])}"
    )


def violations(package: Path) -> list[str]:
    """One line per import that breaks a rule, and per module that the table does not know."""
    found = []
    entries = {dotted(file, package).split(".")[0] for file in files(package)}
    for file in files(package):
        module = dotted(file, package)
        importer = module.split(".")[0]
        if importer not in {FACADE, SIDE} and row_of(importer) is None:
            found.append(f"{module}: in no row of the table")
            continue
        for name, late, line in imports(file, package):
            fault = fault_of(importer, name, entries, late=late)
            if fault:
                found.append(f"{module}:{line} imports {name}: {fault}")
    return found


def fault_of(importer: str, name: str, entries: set[str], *, late: bool) -> str | None:
    top, _, rest = name.partition(".")
    if top != ROOT:
        return fault_outside(importer, top)
    target = rest.split(".")[0]
    if target in entries and target:
        return fault_inside(importer, target, late=late)
    return None if target in FACADE_GIVES else f"{ROOT} gives only {sorted(FACADE_GIVES)}"


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def long_functions(file: Path) -> list[str]:
    functions = (
        node
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    sizes = {f"{file.name}:{node.lineno} {node.name}": body_lines(node) for node in functions}
    return [f"{name}: {size} lines" for name, size in sizes.items() if size > MAX_BODY_LINES]


def test_every_import_goes_to_a_row_above_or_through_its_door() -> None:
    assert violations(PACKAGE) == []


def test_no_entry_stands_in_two_rows() -> None:
    entries = [entry for row in ROWS for entry in row]
    assert len(entries) == len(set(entries))


def test_edges_within_a_row_stay_in_it_and_go_one_way() -> None:
    assert [edge for edge in WITHIN_A_ROW if row_of(edge[0]) is None or row_of(edge[0]) != row_of(edge[1])] == []
    reached = set(WITHIN_A_ROW)
    while further := {(a, d) for a, b in reached for c, d in reached if b == c} - reached:
        reached |= further
    assert [edge for edge in reached if edge[0] == edge[1]] == []


@pytest.mark.parametrize("file", files(), ids=lambda f: dotted(f, PACKAGE) or "package")
def test_files_and_functions_stay_small(file: Path) -> None:
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE_LINES
    assert long_functions(file) == []


def make_package(folder: Path, sources: dict[str, str]) -> Path:
    package = folder / ROOT
    for name, text in sources.items():
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return package


WRONG = {
    "upwards": ("measure.py", "from onnx_nepenthe.report import table", "row 4 imports from row 5"),
    "upwards in a function": ("errors.py", "def f():\n    import onnx_nepenthe.cli", "row 0 imports from row 6"),
    "upwards, relative": ("graph/view.py", "from ..measure import measure", "row 3 imports from row 4"),
    "sideways": ("graph/view.py", "from onnx_nepenthe import session", "row 3 imports from row 3"),
    "wrong door": ("measure.py", "import onnx", "onnx is imported only by ['graph']"),
    "wrong door, submodule": ("plan.py", "from onnxruntime.capi import x", "onnxruntime is imported only by"),
    "wrong door, dynamic": (
        "cli/run.py",
        "import importlib\nimportlib.import_module('torch')",
        "torch is imported only by",
    ),
    "no door": ("measure.py", "import pandas", "pandas has no door"),
    "wrong door, for types": ("plan.py", "if TYPE_CHECKING:\n    import onnx", "onnx is imported only by ['graph']"),
    "numpy too low": ("errors.py", "import numpy as np", "row 0 needs no arrays"),
    "unlisted module": ("helpers.py", "", "in no row"),
    "cli imports prune early": ("cli/run.py", "from onnx_nepenthe.prune import loop", "inside functions"),
    "pipeline imports prune": ("pipeline.py", "def f():\n    import onnx_nepenthe.prune", "only cli imports prune"),
    "prune imports graph": ("prune/loop.py", "import onnx_nepenthe.graph", "prune imports rows 0-2"),
    "facade imports early": ("__init__.py", "from onnx_nepenthe.run import collapse", "inside functions"),
    "facade imports a stage": (
        "__init__.py",
        "def f():\n    from onnx_nepenthe import plan",
        "only `publishing` and `run`",
    ),
    "through the facade": ("cli/run.py", "from onnx_nepenthe import collapse", "gives only"),
}
RIGHT = {
    "downwards": ("measure.py", "import numpy\nfrom onnx_nepenthe import errors\nimport onnx_nepenthe.graph.view"),
    "sibling": ("graph/view.py", "from onnx_nepenthe.graph import constants\nfrom .constants import y\nimport onnx"),
    "version": ("report/html.py", "from onnx_nepenthe import __version__\nimport jinja2"),
    "cli imports prune late": ("cli/run.py", "def f():\n    from onnx_nepenthe.prune import loop"),
    "prune": ("prune/loop.py", "import torch\nimport numpy\nfrom onnx_nepenthe import sources, regimes, ops"),
    "facade, for types": ("__init__.py", "if TYPE_CHECKING:\n    from onnx_nepenthe.run import Outcome"),
    "facade, late": ("__init__.py", "def f():\n    from onnx_nepenthe.run import collapse"),
}
EVERY_ENTRY = {"prune/__init__.py": "", **{f"{entry}/__init__.py": "" for row in ROWS for entry in row}}


@pytest.mark.parametrize("name", WRONG)
def test_the_check_catches(name: str, tmp_path: Path) -> None:
    file, text, expected = WRONG[name]
    (fault,) = violations(make_package(tmp_path, EVERY_ENTRY | {file: text}))
    assert expected in fault


@pytest.mark.parametrize("name", RIGHT)
def test_the_check_admits(name: str, tmp_path: Path) -> None:
    file, text = RIGHT[name]
    assert violations(make_package(tmp_path, EVERY_ENTRY | {file: text})) == []


def test_body_lines_leave_the_docstring_out(tmp_path: Path) -> None:
    short = 'def f():\n    """One.\n\n    Two.\n    """\n' + "    x = 1\n" * MAX_BODY_LINES
    file = tmp_path / "short.py"
    file.write_text(short, encoding="utf-8")
    assert long_functions(file) == []
    file.write_text(short + "    x = 2\n", encoding="utf-8")
    assert long_functions(file) == [f"short.py:1 f: {MAX_BODY_LINES + 1} lines"]
