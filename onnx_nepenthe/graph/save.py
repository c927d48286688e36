"""Write a model beside its final name and rename it: a crash leaves no half file, the input is never touched."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

from onnx_nepenthe.drafts import draft, locked
from onnx_nepenthe.errors import NepentheError, UnsupportedError, UsageError, VerificationError
from onnx_nepenthe.graph.external import concatenate, external_files, has_external_weights, move_out
from onnx_nepenthe.graph.interface import compare, interface_of
from onnx_nepenthe.graph.load import PathLike, load, model_from_proto, named, read_proto
from onnx_nepenthe.graph.mapping import origin_of
from onnx_nepenthe.graph.serial import weight_bytes

LOG = logging.getLogger(__name__)
EXTERNAL_ABOVE_BYTES = 3 << 29
"""1.5 GiB; protobuf ends at 2 GiB and the graph needs room too."""


def save(
    model: ir.Model,
    path: PathLike,
    *,
    source: PathLike | None = None,
    original: ir.Model | None = None,
    external_above_bytes: int = EXTERNAL_ABOVE_BYTES,
) -> None:
    """Write `model`, atomically; `model` is not changed.

    Weights go to `<path>.data` when they are more than `external_above_bytes` together, or when the model's
    weights are in such a file now. What was written is read again before it takes its final name, and must
    pass onnx.checker if `source` does.

    Args:
        model: what to write.
        path: where; its folder must exist. A file that is there is replaced.
        source: the file the model came from, which must be another one.
        original: what was loaded from it; its files must still be what they were.

    Raises:
        UsageError: `path` is the input, one of its data files, a folder, or in no folder.
        UnsupportedError: too large even with external weights.
        UnreadableError: the files of `original` were changed meanwhile.
        VerificationError: what was written does not read back as `model`.
        NepentheError: the disk is full, the folder is read-only …
    """
    target = Path(path)
    with named(path):
        _refuse_target(target, [source] if source is not None else [], external_files(model))
        with _staged(target, original) as folder:
            own = model.clone()
            if weight_bytes(own) > external_above_bytes or has_external_weights(own):
                move_out(own, folder / _data_name(target))
            proto = ir.to_proto(own)
            for function in proto.functions:
                function.domain = function.domain  # the checker wants the field, even when it is empty
            _write_proto(proto, folder / target.name)
            _check_written(folder / target.name, model, source)


def copy(path_in: PathLike, path_out: PathLike, *, original: ir.Model | None = None) -> None:
    """Copy a model file with its data files, atomically; several data files become the one `<path_out>.data`.

    Args:
        path_in: the file.
        path_out: where; as `save`.
        original: what was loaded from it before; its files must still be what they were.

    Raises:
        UnreadableError, UnsupportedError: `path_in` cannot be loaded, or was changed.
        UsageError, NepentheError: as `save`.
    """
    source, target = Path(path_in), Path(path_out)
    with named(path_in):
        proto = read_proto(source)
        model = model_from_proto(proto, source.absolute().parent)
    with named(path_out):
        _refuse_target(target, [source], external_files(model))
        with _staged(target, original) as folder:
            if concatenate(proto, source.parent, folder / _data_name(target)):
                _write_proto(proto, folder / target.name)
            else:
                shutil.copyfile(source, folder / target.name)
                _sync(folder / target.name)


def check_target(path: PathLike, model: ir.Model, source: PathLike) -> None:
    """Refuse early what `save` and `copy` would refuse, before minutes of work.

    Raises:
        UsageError: `path` cannot be the result of the `model` read from `source`.
    """
    with named(path):
        _refuse_target(Path(path), [source], external_files(model))


def _data_name(target: Path) -> str:
    return target.name + ".data"


def _refuse_target(target: Path, sources: Sequence[PathLike], data_files: Sequence[Path]) -> None:
    if target.is_dir():
        raise UsageError("is a folder; give a file name with -o")
    if target.exists() and not target.is_file():
        raise UsageError("is a device or a pipe, not a file; give a file name with -o")
    if not target.parent.is_dir():
        raise UsageError(f"cannot be written: there is no folder '{target.parent}'")
    if any(_is_same(target, Path(source)) for source in sources):
        raise UsageError("is the input, which is never overwritten; give another name with -o")
    for ours in (target, target.with_name(_data_name(target))):
        if any(_is_same(ours, file) for file in data_files):
            raise UsageError(f"cannot be written: '{ours.name}' holds weights of the input; give another name with -o")


def _is_same(a: Path, b: Path) -> bool:
    if a.exists() and b.exists():
        return a.samefile(b)
    return a.resolve() == b.resolve()


@contextmanager
def _staged(target: Path, original: ir.Model | None) -> Iterator[Path]:
    """A folder beside `target` whose files take their final names on leaving, or vanish on any failure."""
    try:
        with draft(f".{target.name}.", target.parent) as folder:
            yield folder
            if original is not None:
                origin_of(original)
            _publish(folder, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise NepentheError(f"cannot be written: {reason}; nothing was changed") from error


def _publish(folder: Path, target: Path) -> None:
    """Rename the data first, then the model; put everything back when something fails.

    An old model must never be beside new data, not even when the process is killed in between: it goes first. Whoever
    else writes the same two files waits, so that a pair is always of one run.
    """
    data, final = folder / _data_name(target), target.with_name(_data_name(target))
    moves = [(folder / target.name, target)]
    if data.exists():
        old = (target, folder / f"{target.name}.replaced"), (final, folder / f"{final.name}.replaced")
        moves = [*old, (data, final), *moves]
    done: list[tuple[Path, Path]] = []
    with locked(target.parent):
        try:
            for source, place in moves:
                if source.exists():
                    os.replace(source, place)
                    done.append((source, place))
        except BaseException:
            for source, place in reversed(done):
                os.rename(place, source)
            raise
    _sync(target.parent)


def _write_proto(proto: onnx.ModelProto, path: Path) -> None:
    try:
        data = proto.SerializeToString()
    except (EncodeError, ValueError):
        raise UnsupportedError("is above 2 GiB even with its weights in another file; protobuf ends there") from None
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Make the disk have it; a folder cannot be opened for that everywhere (Windows)."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_written(path: Path, model: ir.Model, source: PathLike | None) -> None:
    try:
        again = load(path)
    except NepentheError as error:
        raise VerificationError(f"does not read back, nothing was written: {error}") from error
    differences = compare(interface_of(model), interface_of(again))
    if len(again.graph) != len(model.graph):
        differences.append(f"{len(model.graph)} nodes became {len(again.graph)}")
    if differences:
        raise VerificationError(f"does not read back as it was, nothing was written: {differences[0]}")
    if source is not None and _fails_checker(Path(source)) is None:
        reason = _fails_checker(path)
        if reason is not None:
            raise VerificationError(
                f"the input passes onnx.checker, the result does not, nothing was written: {reason}"
            )


def _fails_checker(path: Path) -> str | None:
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:  # the checker raises several types, and refuses what runs
        LOG.debug("onnx.checker: %s", error)
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return None
