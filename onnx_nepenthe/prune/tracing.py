"""From a module to a graph of its calls that holds in training and in evaluation mode."""

from __future__ import annotations

import fnmatch
import inspect
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn

from onnx_nepenthe.errors import UnsupportedError, UsageError
from onnx_nepenthe.prune.encoders import is_open, plain, without_fused_path

SWITCHES = "by_mode"
"""Submodule of a traced network that holds its `ByMode`s."""
OWN_FORWARD = "the network's own forward"


class ByMode(nn.Module):
    """A constant that differs between training and evaluation (`self.training`, a dropout rate).

    Attributes:
        training_value, evaluation_value: what it gives.
    """

    def __init__(self, training_value: Any, evaluation_value: Any) -> None:
        super().__init__()
        self.training_value, self.evaluation_value = training_value, evaluation_value

    def forward(self) -> Any:
        """The value of the mode it is in."""
        return self.training_value if self.training else self.evaluation_value


def trace(module: nn.Module, given: int, leaves: Sequence[str] = ()) -> fx.GraphModule:
    """The module as a graph of calls, sharing its submodules; constants that follow the mode are `ByMode`.

    Args:
        module: tensors in and tensors out.
        given: how many arguments forward is called with; the others keep their defaults.
        leaves: qualified names of submodules that are not looked into; `*` stands for any text.

    Raises:
        UnsupportedError: it cannot be traced; names the submodule and how to go on.
        UsageError: no submodule has the name of a leaf, or forward takes another number of inputs.
    """
    opaque, defaults = _opaque(module, leaves), _defaults(module, given)
    modes = [(part, part.training) for part in module.modules()]
    graphs = []
    for mode in (True, False):
        module.train(mode)
        graphs.append(_graph(module, opaque, defaults))
    for part, was_training in modes:
        part.training = was_training
    traced = fx.GraphModule(module, graphs[0], type(module).__name__)
    traced.training = module.training
    _merge(traced, graphs[1], module)
    for node in [node for node in traced.graph.nodes if node.op == "placeholder"][given:]:
        _erase(traced.graph, node)
    traced.recompile()
    return traced


def module_path(node: fx.Node) -> str:
    """Qualified name of the innermost submodule whose forward makes this call; "" for the network itself."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def cannot_trace(where: str, reason: str) -> UnsupportedError:
    """The error for a part that has no graph; `where` is its qualified name, "" for the network itself."""
    if not where:
        return UnsupportedError(
            f"cannot trace {OWN_FORWARD}: {reason}; move that part into a submodule and mark it as a leaf (--leaf NAME)"
        )
    return UnsupportedError(f"cannot trace {where}: {reason}; mark it as a leaf (--leaf {where}, leaves=({where!r},))")


class _Tracer(fx.Tracer):
    """Remembers where it is, for errors.

    Attributes:
        opaque: qualified names of leaves.
        opens: whether the module being called is a part of torch that is followed all the same.
        path: qualified names of the submodules it is in; after an error, of the ones it was in.
    """

    def __init__(self, opaque: frozenset[str]) -> None:
        super().__init__()
        self.opaque, self.opens = opaque, False
        self.path: list[str] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_qualified_name in self.opaque:
            return True
        return not self.opens and super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self.path.append(self.path_of_module(m))
        self.opens = is_open(m, args, kwargs)
        forward = plain(m, forward) if self.opens else forward
        with _without_chance():
            result = super().call_module(m, forward, args, kwargs)
        self.path.pop()
        return result


def _graph(module: nn.Module, opaque: frozenset[str], defaults: dict[str, Any]) -> fx.Graph:
    tracer = _Tracer(opaque)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _without_chance(), without_fused_path():
                return tracer.trace(module, concrete_args=defaults or None)
    # A forward may fail in any way when its inputs are stand-ins.
    except Exception as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise cannot_trace(tracer.path[-1] if tracer.path else "", reason) from error


@contextmanager
def _without_chance() -> Iterator[None]:
    """Numbers drawn while tracing would be the same ever after.

    Raises:
        RuntimeError: some were drawn.
    """
    before = torch.get_rng_state(), random.getstate()
    yield
    if not torch.equal(before[0], torch.get_rng_state()) or before[1] != random.getstate():
        raise RuntimeError("it draws random numbers by itself, which a trace would fix")


def _opaque(module: nn.Module, leaves: Sequence[str]) -> frozenset[str]:
    names = [name for name, _ in module.named_modules() if name]
    found: set[str] = set()
    for leaf in leaves:
        matching = fnmatch.filter(names, leaf)
        if not matching:
            raise UsageError(f"no submodule is called {leaf!r}; submodules are {', '.join(names[:8]) or 'none'} …")
        found.update(matching)
    return frozenset(found)


def _defaults(module: nn.Module, given: int) -> dict[str, Any]:
    """Arguments of forward beyond the first `given`, with their defaults."""
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(module.forward).parameters.values())
    positional = [parameter for parameter in parameters if parameter.kind in plain]
    rest = [*positional[given:], *(p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)]
    missing = [parameter.name for parameter in rest if parameter.default is inspect.Parameter.empty]
    takes_any = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    if missing or (given > len(positional) and not takes_any):
        names = ", ".join(parameter.name for parameter in positional)
        raise UsageError(f"{type(module).__name__} takes ({names}); the example has {given} inputs")
    return {parameter.name: parameter.default for parameter in rest}


def _erase(graph: fx.Graph, node: fx.Node) -> None:
    """Remove an argument that kept its default, and the checks of it."""
    for user in list(node.users):
        _erase(graph, user)
    graph.erase_node(node)


def _merge(traced: fx.GraphModule, evaluation: fx.Graph, module: nn.Module) -> None:
    """Give the graph of the training mode a `ByMode` wherever the one of the evaluation mode has another constant."""
    same = dict(zip(list(traced.graph.nodes), evaluation.nodes, strict=False))
    for node, other in same.items():
        if not _same_call(module, node, other):
            raise _other_path(node, other)
        node.args = _common(traced, node, same, node.args, other.args)
        node.kwargs = _common(traced, node, same, node.kwargs, other.kwargs)


def _same_call(module: nn.Module, node: fx.Node, other: fx.Node) -> bool:
    """Whether two traces of `module` call the same there; a tensor that forward makes has a name of its own in each."""
    if (node.op, node.target) == (other.op, other.target):
        return True
    if node.op != "get_attr" or other.op != "get_attr":
        return False
    one, another = (getattr(module, str(call.target), None) for call in (node, other))
    return isinstance(one, torch.Tensor) and isinstance(another, torch.Tensor) and one.equal(another)


def _common(traced: fx.GraphModule, node: fx.Node, same: dict[fx.Node, fx.Node], mine: Any, other: Any) -> Any:
    """An argument of `node` that holds in both modes."""

    def common(a: Any, b: Any) -> Any:
        return _common(traced, node, same, a, b)

    if mine is other or (type(mine) is type(other) and mine == other):
        return mine
    match mine, other:
        case fx.Node(), fx.Node() if same[mine] is other:
            return mine
        case (tuple(), tuple()) | (list(), list()) if len(mine) == len(other):
            return type(mine)(map(common, mine, other))
        case dict(), dict() if mine.keys() == other.keys():
            return {key: common(value, other[key]) for key, value in mine.items()}
        case slice(), slice():
            return slice(*map(common, (mine.start, mine.stop, mine.step), (other.start, other.stop, other.step)))
        case (bool() | int() | float() | str() | None, bool() | int() | float() | str() | None):
            return _switch(traced, node, mine, other)
    raise _other_path(node, same[node])


def _switch(traced: fx.GraphModule, node: fx.Node, training: Any, evaluation: Any) -> fx.Node:
    number = sum(isinstance(part, ByMode) for part in traced.modules())
    name = f"{SWITCHES}.{number}"
    traced.add_submodule(name, ByMode(training, evaluation))
    with traced.graph.inserting_before(node):
        return traced.graph.call_module(name)


def _other_path(training: fx.Node, evaluation: fx.Node) -> UnsupportedError:
    """Where the graphs part, one of them is inside the part at fault and the other may have left it."""
    where = max(_home(training), _home(evaluation), key=lambda path: len(path.split(".")))
    return cannot_trace(where, "it takes another path in training than in evaluation")


def _home(node: fx.Node) -> str:
    """Qualified name of the submodule in whose forward a call is written."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    stack = stack[:-1] if node.op == "call_module" else stack
    return str(stack[-1][0]) if stack else ""
