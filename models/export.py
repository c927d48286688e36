"""Writes a trained network as ONNX: dynamic batch, readable names, BatchNormalization kept as a node of its own."""

from __future__ import annotations

import ast
from pathlib import Path

import onnx_ir as ir
import onnxscript.optimizer
import onnxscript.rewriter
import torch
from onnx_ir.passes.common import LiftConstantsToInitializersPass
from onnxscript.rewriter.rules import common
from torch import nn

IMAGE, LOGITS = "input", "logits"
SCOPES = "pkg.torch.onnx.name_scopes"
INPUT_NAMES = {"Clip": {1: "min", 2: "max"}, "Reshape": {1: "shape"}, "ReduceMean": {1: "axes"}}
"""What the constant inputs of an operator are called, by position."""


def write(model: nn.Module, path: Path, opset: int) -> None:
    """Saves `model` (images (N, 1, 8, 8) → logits (N, 10)) with the weights it has."""
    program = torch.onnx.export(
        model.eval(),
        (torch.zeros(2, 1, 8, 8),),
        dynamo=True,
        opset_version=opset,
        input_names=[IMAGE],
        output_names=[LOGITS],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        # The default passes would fold BatchNormalization into the convolutions.
        optimize=False,
        verbose=False,
    )
    graph_model = program.model
    tidy(graph_model)
    rename(graph_model.graph)
    strip(graph_model)
    ir.save(graph_model, path)


def tidy(model: ir.Model) -> None:
    """Folds constants and the shape arithmetic of Reshape; changes no weight."""
    onnxscript.optimizer.inline(model)
    onnxscript.optimizer.fold_constants(model, onnx_shape_inference=True)
    rules = [common.materialize_reshape_shape_rule, common.remove_optional_bias_from_conv_rule]
    onnxscript.rewriter.rewrite(model, rules)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    onnxscript.optimizer.remove_unused_nodes(model)


def rename(graph: ir.Graph) -> None:
    """Calls each node after the module it comes from (`stem.conv`), its output `stem.conv.output`."""
    for node in graph:
        scope = ast.literal_eval(node.metadata_props[SCOPES])[-2]
        owner = scope or "net"
        is_leaf = node.op_type not in ("Add", "Reshape") or owner.endswith("flatten")
        node.name = owner if is_leaf else f"{owner}.{node.op_type.lower()}"
        for value in node.outputs:
            if not value.is_graph_output():
                value.name = f"{node.name}.output"
        for position, suffix in INPUT_NAMES.get(node.op_type, {}).items():
            constant = node.inputs[position]
            if constant is not None and constant.name in graph.initializers:
                constant.name = f"{node.name}.{suffix}"


def strip(model: ir.Model) -> None:
    """Drops the exporter's notes: stack traces, file names, hierarchy."""
    graph = model.graph
    values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    for holder in (model, graph, *graph, *values):
        holder.metadata_props.clear()
        holder.doc_string = None
    graph.name = "digits"
