"""Collapse a model through onnx-graphsurgeon and build a TensorRT engine from the result, where TensorRT is installed.

tools/tensorrt_engine.py MODEL --data D -o ENGINE; without TensorRT it stops after the ONNX file.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs

import onnx_nepenthe
from onnx_nepenthe.errors import NepentheError


def collapsed(model: Path, data: str | None, latency: str, provider: str) -> onnx.ModelProto:
    """The collapsed model; in and out of it goes a graphsurgeon Graph, as in TensorRT's own samples."""
    graph = gs.import_onnx(onnx.load(model))
    graph = onnx_nepenthe.collapse(graph, data=data, latency=latency, provider=provider)
    return gs.export_onnx(graph.cleanup().toposort())


def engine(model: onnx.ModelProto, trt: Any, shapes: list[str]) -> bytes:
    """The engine, serialised.

    Args:
        trt: the tensorrt module.
        shapes: INPUT:1x3x224x224 for each input with a size that is not fixed.

    Raises:
        NepentheError: TensorRT does not read or build the model.
    """
    builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, builder.logger)
    if not parser.parse(model.SerializeToString()):
        raise NepentheError(f"TensorRT does not read the model: {parser.get_error(0)}")
    config = builder.create_builder_config()
    if shapes:
        profile = builder.create_optimization_profile()
        for text in shapes:
            name, _, sizes = text.rpartition(":")
            shape = tuple(int(size) for size in sizes.split("x"))
            profile.set_shape(name, shape, shape, shape)
        config.add_optimization_profile(profile)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise NepentheError("TensorRT cannot build the engine; its log says why")
    return bytes(built)


def main(arguments: list[str] | None = None) -> int:
    """Write the ONNX file, and the engine where TensorRT is installed; the exit code."""
    parser = argparse.ArgumentParser(prog="tools/tensorrt_engine.py", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", help="calibration data of the collapse")
    parser.add_argument("--latency", choices=("measured", "macs", "off"), default="measured")
    parser.add_argument("--provider", default="cpu", help="whose times decide: tensorrt where onnxruntime has it")
    parser.add_argument("--shape", action="append", default=[], metavar="INPUT:AxBxC", help="of inputs not fixed")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the engine; the ONNX file lies beside it")
    options = parser.parse_args(arguments)
    try:
        model = collapsed(options.model, options.data, options.latency, options.provider)
        path = options.output.with_name(f"{options.model.stem}.collapsed.onnx")
        onnx.save(model, path)
        print(f"{path} written")
        try:
            trt = importlib.import_module("tensorrt")
        except ImportError:
            print("TensorRT is not installed here: no engine was built")
            return 0
        options.output.write_bytes(engine(model, trt, options.shape))
    except NepentheError as error:
        parser.exit(1, f"tools/tensorrt_engine.py: {error}\n")
    print(f"{options.output} written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
