"""A pass of Olive: `OnnxNepenthe` collapses the model of a workflow.

Nothing of Olive is imported before the pass is asked for, so this module can be read where Olive is not installed.
`python -m onnx_nepenthe.olive` prints the package configuration that Olive finds the pass in.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import types
from dataclasses import fields
from pathlib import Path
from typing import Any

from onnx_nepenthe import run
from onnx_nepenthe.errors import NepentheError
from onnx_nepenthe.options import Options

NAME = "OnnxNepenthe"
PARAMETERS: dict[str, tuple[type, str]] = {
    "data": (str, "Calibration data: a .npz, a folder, or package.module:callable, which runs code."),
    "latency": (str, "measured: only what is faster here; macs: fewer multiply-adds; off: every exact composition."),
    "provider": (str, "Where onnxruntime runs: cpu, cuda, tensorrt …"),
    "threads": (int, "Threads of one operator; 0: onnxruntime's choice."),
    "max_drop": (float, "Points of the metric that may be paid for speed; none: exact only."),
    "metric": (str, "What a point is."),
    "proved_only": (bool, "Decide nothing on data alone."),
    "freeze_initializers": (bool, "Take weights that are also graph inputs for constants."),
    "seed": (int, "Of everything random."),
}
"""Name → (type, help) of what a workflow may set."""
_HOW_TO_MEND = "Olive is not installed; run `pip install olive-ai`"


def __getattr__(name: str) -> Any:
    if name == NAME:
        return _made_pass()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def package_configuration() -> dict[str, Any]:
    """Olive's own package configuration with the pass added.

    Raises:
        NepentheError: Olive is not installed.

    Source: https://microsoft.github.io/Olive, "How to add a new pass".
    """
    path = _olive("package_config").OlivePackageConfig.get_default_config_path()
    found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    kinds = ("supported_providers", "supported_accelerators", "supported_precisions")
    none = ("supported_algorithms", "supported_quantization_encodings")
    own = {
        "module_path": f"onnx_nepenthe.olive.{NAME}",
        **{kind: ["*"] for kind in kinds},
        **{kind: [] for kind in none},
    }
    return found | {"passes": {**found["passes"], NAME: own}}


def collapsed(source: Path, output: Path, given: dict[str, Any]) -> None:
    """Collapse the file `source` into `output` with the parameters `given`; None stands for the default.

    Raises:
        NepentheError: as `run.collapse`.
    """
    known: Any = {name: value for name, value in given.items() if name != "data" and value is not None}
    run.collapse(source, output, run.options_from(given.get("data"), known))


@functools.cache
def _made_pass() -> type[Any]:
    """The class, made when it is first asked for: its base is Olive's."""
    base = _olive("passes").Pass
    body = {
        "__module__": __name__,
        "__doc__": "Make an ONNX model shallower: the same numbers, never slower.",
        "_default_config": classmethod(_default_config),
        "_run_for_config": _run_for_config,
    }
    return types.new_class(NAME, (base,), exec_body=lambda space: space.update(body))


def _default_config(cls: type[Any], accelerator_spec: Any) -> dict[str, Any]:
    parameter, defaults = _olive("passes.pass_config").PassConfigParam, _defaults()
    return {
        name: parameter(type_=kind, default_value=defaults[name], description=text)
        for name, (kind, text) in PARAMETERS.items()
    }


def _run_for_config(self: Any, model: Any, config: Any, output_model_path: str) -> Any:
    source = Path(model.model_path)
    output = Path(_olive("model.utils").resolve_onnx_path(output_model_path, source.name))
    collapsed(source, output, {name: getattr(config, name) for name in PARAMETERS})
    handler = _olive("model").ONNXModelHandler
    if len(list(output.parent.iterdir())) == 1:
        return handler(model_path=str(output))
    # Weights lie beside the model; Olive moves both when it knows the folder.
    return handler(model_path=str(output.parent), onnx_file_name=output.name)


def _defaults() -> dict[str, Any]:
    options = Options()
    names = {field.name for field in fields(Options)}
    own = {name: getattr(options, name) for name in PARAMETERS if name in names}
    return own | {"provider": options.config.provider, "threads": options.config.threads}


def _olive(module: str) -> Any:
    try:
        importlib.import_module("olive")
    except ImportError as error:
        raise NepentheError(_HOW_TO_MEND) from error
    return importlib.import_module(f"olive.{module}")


def main() -> int:
    """Print the package configuration; 1 without Olive."""
    try:
        sys.stdout.write(json.dumps(package_configuration(), indent=2) + "\n")
    except NepentheError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
