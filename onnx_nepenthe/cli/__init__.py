"""The command line: prints and writes, decides nothing."""

from onnx_nepenthe.cli.loading import leaving_at_once

with leaving_at_once():
    from onnx_nepenthe.cli import bench, collapse, inspect, prune, verify
    from onnx_nepenthe.cli.app import app
    from onnx_nepenthe.cli.stopping import ignore_interrupts

for _command in (inspect.inspect, collapse.collapse, verify.verify, bench.bench, prune.prune):
    app.add_command(_command)


def main() -> None:
    """The entry point `onnx-nepenthe`."""
    try:
        app.main()
    finally:
        ignore_interrupts()


__all__ = ["app", "main"]
