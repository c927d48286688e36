"""What every page has: its frame, its scripts inside it, and a rule that nothing else may run or be loaded."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from onnx_nepenthe.report import text

HOME = "onnx_nepenthe.report"
LIBRARIES = (("d3", "d3.min.js"), ("plot", "plot.umd.min.js"), ("dagre", "dagre.min.js"))
"""Of `vendor/`: licence and file, in the order in which they need each other."""
OWN = ("page.js", "charts.js", "more.js", "graphs.js", "start.js")
_MAP = re.compile(r"^//# sourceMappingURL=.*$", flags=re.MULTILINE)


def render(template: str, charts: Mapping[str, Any], **context: Any) -> str:
    """A page that opens without network; everything that comes from a model is escaped.

    Args:
        template: name of a file in `templates/`.
        charts: what its scripts draw, made of what JSON has; nothing of it is run.
        context: of the template.
    """
    scripts = [*_libraries(), *map(_own, OWN)]
    page = (
        _environment()
        .get_template(template)
        .render(
            charts=charts,
            style=_text("templates", "page.css"),
            scripts=scripts,
            hashes=[_hash(script) for script in scripts],
            **context,
        )
    )
    return page + "\n"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(HOME), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # Regimes, rounds and models have an order.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    environment.filters |= {
        "speed": text.speed_word,
        "clean": text.clean,
        "integer": text.integer,
        "ms": text.milliseconds,
        "percent": text.percent,
        "plural": text.plural,
        "sentence": text.sentence,
        "size": text.size,
    }
    return environment


@cache
def _libraries() -> tuple[str, ...]:
    return tuple(_library(*library) for library in LIBRARIES)


def _library(name: str, file: str) -> str:
    """Under its licence, which has to go where it goes; without the address of a map that is not there."""
    licence = _text("vendor", f"LICENSE.{name}.txt").replace("*/", "* /")
    return f"/* {file}\n{licence}*/\n{_MAP.sub('', _text('vendor', file))}"


@cache
def _own(file: str) -> str:
    return _text("templates", file)


def _text(*parts: str) -> str:
    return resources.files(HOME).joinpath(*parts).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """As a content security policy names a script."""
    return "sha256-" + b64encode(hashlib.sha256(script.encode()).digest()).decode()
