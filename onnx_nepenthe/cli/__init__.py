"""The command line: prints and writes, decides nothing."""

import sys

try:
    from onnx_nepenthe.cli import bench, collapse, inspect, prune, verify
    from onnx_nepenthe.cli.app import app
except KeyboardInterrupt:
    # Loading takes a second or two, in which nothing that says so in general is there yet.
    sys.stderr.write("\nonnx-nepenthe: interrupted\n")
    sys.exit(130)

for _command in (inspect.inspect, collapse.collapse, verify.verify, bench.bench, prune.prune):
    app.add_command(_command)


def main() -> None:
    """The entry point `onnx-nepenthe`."""
    app.main()


__all__ = ["app", "main"]
