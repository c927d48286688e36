"""The command line: prints and writes, decides nothing."""

from onnx_nepenthe.cli import bench, collapse, inspect, verify
from onnx_nepenthe.cli.app import app

for _command in (inspect.inspect, collapse.collapse, verify.verify, bench.bench):
    app.add_command(_command)


def main() -> None:
    """The entry point `onnx-nepenthe`."""
    app.main()


__all__ = ["app", "main"]
