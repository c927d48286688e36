"""What flows where in a traced network: which weights make a pre-activation, and what gets past them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from math import prod

from torch import fx, nn

from onnx_nepenthe.prune.weights import is_weighted, weight_of

Shape = tuple[int, ...]
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_MOVING_MODULES = (*(nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),)
_CHANNELWISE_MODULES = (
    *(nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
)
_POSITIVE_MODULES = (nn.Sigmoid, nn.Hardsigmoid, nn.Softmax)
# By the function's own name: tensor methods, torch, torch.nn.functional and operator spell them alike.
_TRANSPOSES = frozenset({"permute", "transpose", "swapaxes"})
_MOVES = frozenset(
    {
        *("reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze", "contiguous", "clone", "to", "float"),
        *("dropout", "dropout1d", "dropout2d", "dropout3d", "stochastic_depth", "drop_path"),
    }
)
_CHANNELWISE = frozenset(
    {
        *("layer_norm", "batch_norm", "group_norm", "instance_norm"),
        *("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d"),
        *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "pad", "roll"),
    }
)
_SUMS = frozenset({"add", "iadd", "add_", "sub", "isub", "sub_"})
_SCALES = frozenset({"mul", "imul", "mul_", "truediv", "itruediv", "div", "div_"})
_PRODUCTS = _SCALES | {"matmul", "bmm", "einsum", "scaled_dot_product_attention"}
_BLANKS = frozenset({"new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like"})
_POSITIVE = frozenset({"sigmoid", "hardsigmoid", "softmax"})


@dataclass(frozen=True)
class Origin:
    """Which weights a value comes from.

    Attributes:
        feeder: qualified name of the convolution or dense layer.
        axis: where its channels are in the value.
        depth: how many weighted layers there are at most from an input to it, itself included.
        norm: qualified name of the last BatchNorm on the way.
        norm_is_last: whether the value is that norm's result, but for moves.
        is_sum: whether another value has been added since the last weights or norm.
    """

    feeder: str
    axis: int
    depth: int
    norm: str | None = None
    norm_is_last: bool = False
    is_sum: bool = False


def shape_of(node: fx.Node) -> Shape | None:
    """The traced shape of a value; None for anything but one tensor."""
    found = node.meta.get("tensor_meta")
    return None if found is None or not hasattr(found, "shape") else tuple(found.shape)


def is_sum(node: fx.Node) -> bool:
    """Whether it adds two things."""
    return _name(node) in ("add", "iadd", "add_")


def origins(traced: fx.GraphModule) -> dict[fx.Node, Origin]:
    """Where every value comes from that weights make linearly, channel by channel.

    Through norms, pools, dropout, moves, constant factors and summands, and through a gate that scales channels; of a
    sum, the summand behind the most weighted layers counts (in a residual block the branch, not the skip), of equals
    the first.
    """
    found: dict[fx.Node, Origin] = {}
    depths: dict[fx.Node, int] = {}
    gates = {node for node in traced.graph.nodes if _is_positive(traced, node)}
    for node in traced.graph.nodes:
        module = _module(traced, node)
        is_feeder = module is not None and is_weighted(module)
        depths[node] = max((depths[operand] for operand in node.all_input_nodes), default=0) + is_feeder
        shape = shape_of(node)
        if shape is None:
            continue
        if module is not None and is_feeder:
            origin: Origin | None = Origin(str(node.target), _feeder_axis(module, len(shape)), depths[node])
        else:
            origin = _passed(node, module, shape, found, gates)
        if origin is not None:
            found[node] = origin
    return found


def has_bypass(traced: fx.GraphModule, feeder: str) -> bool:
    """Whether every output still depends on an input when all weights of `feeder` are zero.

    A product with what the feeder alone let through is constant, unless that is a gate which is never 0 (a sigmoid).
    """
    before = _live(traced, None, ())
    after = _live(traced, feeder, before)
    return all(value in after for value in traced.graph.output_node().all_input_nodes if value in before)


def _live(traced: fx.GraphModule, dead: str | None, before: Collection[fx.Node]) -> set[fx.Node]:
    """Values that depend on an input, other than by their shape, when the module called `dead` gives a constant.

    Args:
        traced: with shapes.
        dead: qualified name; None for none.
        before: the values that do when none is dead.
    """
    live: set[fx.Node] = set()
    for node in traced.graph.nodes:
        is_dead = node.op == "call_module" and node.target == dead
        if is_dead or "tensor_meta" not in node.meta or _name(node) in _BLANKS:
            continue
        operands = node.all_input_nodes
        lost = (operand for operand in operands if operand in before and operand not in live)
        if _name(node) in _PRODUCTS and not all(_is_positive(traced, operand) for operand in lost):
            continue
        if node.op == "placeholder" or any(operand in live for operand in operands):
            live.add(node)
    return live


def _is_positive(traced: fx.GraphModule, node: fx.Node) -> bool:
    return isinstance(_module(traced, node), _POSITIVE_MODULES) or _name(node) in _POSITIVE


def _module(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None


def _name(node: fx.Node) -> str:
    match node.op:
        case "call_method":
            return str(node.target)
        case "call_function":
            return str(getattr(node.target, "__name__", ""))
    return ""


def _feeder_axis(module: nn.Module, rank: int) -> int:
    """Features are on the last axis, channels in front of as many axes as the kernel has (a batch axis may lack)."""
    return rank - 1 - (weight_of(module).dim() - 2)


def _passed(
    node: fx.Node, module: nn.Module | None, shape: Shape, found: dict[fx.Node, Origin], gates: Collection[fx.Node]
) -> Origin | None:
    """The origin of a value that is no feeder's own result."""
    name, operands = _name(node), [operand for operand in node.all_input_nodes if shape_of(operand) is not None]
    if name in _SUMS:
        deepest = _deepest([_after(operand, shape, found) for operand in operands])
        values = [operand for operand in operands if operand.op != "get_attr"]
        return deepest if deepest is None or len(values) < 2 else replace(deepest, is_sum=True)
    if name in _SCALES:
        factor = _factor(node, name, gates)
        return None if factor is None else _after(factor, shape, found)
    operand = operands[0] if operands else None
    if operand is None or operand not in found:
        return None
    if isinstance(module, NORMS):
        origin = _after(operand, shape, found)
        is_own = origin is not None and origin.axis == 1
        return (
            replace(origin, norm=str(node.target), norm_is_last=True, is_sum=False)
            if origin is not None and is_own
            else None
        )
    if isinstance(module, _CHANNELWISE_MODULES) or name in _CHANNELWISE:
        return _after(operand, shape, found)
    if isinstance(module, _MOVING_MODULES) or name in _MOVES | _TRANSPOSES:
        axis = _moved_axis(node, name, operand, shape, found[operand].axis)
        return None if axis is None else replace(found[operand], axis=axis)
    return None


def _factor(node: fx.Node, name: str, gates: Collection[fx.Node]) -> fx.Node | None:
    """What is scaled by constants and by gates that are never negative; None when it is something else."""
    given = [value for value in (*node.args, *node.kwargs.values()) if isinstance(value, fx.Node)]
    values = [value for value in given if shape_of(value) is not None and value.op != "get_attr" and value not in gates]
    is_divisor = "div" in name and values[:1] != [node.args[0]]
    return values[0] if len(values) == 1 and not is_divisor else None


def _after(operand: fx.Node, shape: Shape, found: dict[fx.Node, Origin]) -> Origin | None:
    """The operand's origin behind an operation that keeps its channels; its axes count from the right."""
    before, origin = shape_of(operand), found.get(operand)
    if before is None or origin is None:
        return None
    axis = origin.axis + len(shape) - len(before)
    if not 0 <= axis < len(shape) or shape[axis] != before[origin.axis]:
        return None
    return replace(origin, axis=axis, norm_is_last=False)


def _deepest(candidates: list[Origin | None]) -> Origin | None:
    return max((origin for origin in candidates if origin is not None), key=lambda origin: origin.depth, default=None)


def _moved_axis(node: fx.Node, name: str, operand: fx.Node, shape: Shape, axis: int) -> int | None:
    before = shape_of(operand) or ()
    if name in _TRANSPOSES:
        return _transposed_axis(node, name, len(before), axis)
    matching = (
        new for new, size in enumerate(shape) if size == before[axis] and prod(shape[:new]) == prod(before[:axis])
    )
    return next(matching, None)


def _transposed_axis(node: fx.Node, name: str, rank: int, axis: int) -> int | None:
    given = [*node.args[1:], *(value for key, value in node.kwargs.items() if key != "input")]
    if len(given) == 1 and isinstance(given[0], list | tuple):
        given = list(given[0])
    if not all(isinstance(value, int) for value in given):
        return None
    order = [int(value) % rank for value in given if isinstance(value, int)]
    if name == "permute":
        return order.index(axis) if axis in order else None
    return {order[0]: order[1], order[1]: order[0]}.get(axis, axis)
