"""Plans as files: the steps of a collapse with all their numbers, for one model and one result.

Numbers are kept as the bytes they are (little-endian float64, base64), so a replay is the same bit for bit.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnx_nepenthe.affine.forms import Form
from onnx_nepenthe.affine.maps import Conv, Dense, PerChannel, SpatialMean
from onnx_nepenthe.affine.transposed import TransposedConv
from onnx_nepenthe.cutting import Cut, Fold, Removed
from onnx_nepenthe.errors import NepentheError, UnreadableError, UsageError, VerificationError
from onnx_nepenthe.evidence import Fitted, Observed, Proved
from onnx_nepenthe.graph.bodies import Place
from onnx_nepenthe.graph.inlining import prepared
from onnx_nepenthe.graph.serial import Model, digest
from onnx_nepenthe.outcome import Bought, Price
from onnx_nepenthe.plan import Choice, Region
from onnx_nepenthe.steps import Inside, Step, taken
from onnx_nepenthe.typed import has_declared_types

VERSION = 1
RECORDS: Mapping[str, type] = {
    record.__name__: record
    for record in (
        *(
            PerChannel,
            Dense,
            Conv,
            TransposedConv,
            SpatialMean,
            Form,
            Choice,
            Region,
            Cut,
            Fold,
            Removed,
            Step,
            Inside,
            Place,
        ),
        *(Proved, Observed, Fitted, Bought, Price),
    )
}
"""All that a plan may hold; nothing else is ever made from a file."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """How one model becomes another.

    Attributes:
        model_hash, result_hash: `graph.serial.digest` of the two.
        frozen: whether weights that are inputs are taken for constants first.
        steps: what is done.
        options: of the run that made it, for people.
        price: what it cost there; None when everything is exact.
        inlined: whether local functions are inlined before that.
    """

    model_hash: str
    result_hash: str
    frozen: bool
    steps: tuple[Step, ...]
    options: Mapping[str, Any]
    price: Price | None = None
    inlined: bool = False


def replay(model: Model, recipe: Recipe) -> Model:
    """The result, bit for bit.

    Raises:
        UsageError: the plan is for another model.
        UnreadableError: its steps lead nowhere.
        VerificationError: the result is not the recorded one.
    """
    found = digest(model)
    if found != recipe.model_hash:
        raise UsageError(
            f"the plan is for another model (its hash is {recipe.model_hash[:12]}, this one's {found[:12]}); "
            "give the model that it was made from"
        )
    ready = prepared(model, freeze=recipe.frozen, inline=recipe.inlined)
    try:
        result = taken(ready, recipe.steps)
    except NepentheError:
        raise
    except Exception as error:  # whatever steps that nobody planned lead to
        raise UnreadableError(f"the plan is damaged ({type(error).__name__}: {error}); make it anew") from error
    if digest(result) != recipe.result_hash:
        raise VerificationError(
            "the replay differs from what the plan records, so another version made it; nothing was written. "
            "Make the plan anew"
        )
    return result


def text_of(recipe: Recipe) -> str:
    """The plan as JSON."""
    record = {
        "schema_version": VERSION,
        "kind": "plan",
        "model_hash": recipe.model_hash,
        "result_hash": recipe.result_hash,
        "frozen": recipe.frozen,
        "inlined": recipe.inlined,
        "options": recipe.options,
        "price": _encoded(recipe.price),
        "steps": _encoded(recipe.steps),
    }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def read_recipe(path: Path) -> Recipe:
    """The plan that `text_of` wrote.

    Raises:
        UnreadableError: there is no such file, or it is no plan.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["kind"] != "plan" or record["schema_version"] != VERSION:
            raise ValueError(f"schema version {record['schema_version']}")
        steps, price = _decoded(record["steps"]), _decoded(record["price"])
        is_sound = all(isinstance(step, Step) for step in steps) and isinstance(price, Price | None)
        if not is_sound or not isinstance(record["options"], dict):
            raise ValueError("no steps, or no options")
        hashes = (str(record["model_hash"]), str(record["result_hash"]))
        return Recipe(*hashes, bool(record["frozen"]), steps, record["options"], price, bool(record.get("inlined")))
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise UnreadableError(f"{path} is no plan of this version: {error}; write it with --plan") from error


def _encoded(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return {"float": value.hex()}
        case np.ndarray():
            data = np.ascontiguousarray(value, "<f8")
            return {"shape": list(data.shape), "float64": base64.b64encode(data.tobytes()).decode("ascii")}
        case tuple() | list():
            return [_encoded(entry) for entry in value]
    if is_dataclass(value) and type(value).__name__ in RECORDS:
        return {"is": type(value).__name__} | {f.name: _encoded(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.integer | np.floating):
        return _encoded(value.item())
    raise AssertionError(f"a plan cannot hold {type(value).__name__}")


def _decoded(value: Any) -> Any:
    match value:
        case {"float": text}:
            return float.fromhex(text)
        case {"float64": text, "shape": shape}:
            return np.frombuffer(base64.b64decode(text, validate=True), "<f8").reshape(shape).astype(np.float64)
        case {"is": name, **entries}:
            record = RECORDS[name](**{str(key): _decoded(entry) for key, entry in entries.items()})
            if not has_declared_types(record):
                raise ValueError(f"a {name} of other types")
            return record
        case list():
            return tuple(_decoded(entry) for entry in value)
    return value
