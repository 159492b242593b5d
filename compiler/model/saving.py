"""Saving a model: what goes where, and every file complete and checked before it takes its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regc.compiler.errors import UsageError
from regc.compiler.model import writer
from regc.compiler.model.files import check_destination, commit, copy, durable, staging
from regc.compiler.model.writer import Draft
from regc.compiler.model.written import check_written, passes_checker

if TYPE_CHECKING:
    from regc.compiler.model import Model

EXTERNAL_ABOVE = 3 << 29
"""1.5 GiB: models with more values than that get external data by themselves; protobuf ends at 2 GiB."""

STAGED = "model.onnx"
"""Name of a model until it is checked: onnx.checker takes not every name for that of external data."""


@dataclass(frozen=True)
class SavedFiles:
    """What :func:`save` wrote: the model, its external data if any, and their bytes together."""

    model: Path
    data: tuple[Path, ...]
    nbytes: int

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them, the model first."""
        return (self.model, *self.data)


def save(model: Model, path: str | Path, *, external_data: bool | None = None) -> SavedFiles:
    """Write a model to ``path``, and large values to ``path + ".data"`` if ``external_data``.

    By default values are external when the input had external data or when they take more than 1.5 GiB. The
    files appear under their names only when they are complete and checked; what was there before is replaced
    then, and is untouched after a failure. An opaque model is copied as it came. Raises UsageError for a
    place that must not be written to, RegcError when saving fails.
    """
    path = Path(path)
    check_destination(path, model.files)
    if model.opaque:
        return _save_unchanged(model, path, external_data)
    out = model.export(lambda values: values.nbytes >= writer.EXTERNAL_FROM)
    total = sum(values.nbytes for _, values in out.payloads())
    if external_data is None:
        external_data = model.has_external_data or total > EXTERNAL_ABOVE
    data = path.with_name(path.name + ".data") if external_data and out.payloads() else None
    if data is not None:
        check_destination(data, model.files)
    with staging(path.parent, total + out.proto.ByteSize()) as stage:
        staged, staged_data = stage / STAGED, stage / data.name if data else None
        _write(out, staged, staged_data)
        check_written(path.name, staged, staged_data, lambda: passes_checker(model.path, model.proto))
        commit([*([(staged_data, data)] if staged_data and data else []), (staged, path)])
    return _saved(path, [data] if data else [])


def _write(out: Draft, path: Path, data: Path | None) -> None:
    if data is None:
        with durable(path) as file:
            writer.write_single(file, out)
        return
    layout = writer.place_external(out, data.name)
    with durable(data) as file:
        writer.write_data(file, layout)
    with durable(path) as file:
        file.write(out.proto.SerializeToString())


def _save_unchanged(model: Model, path: Path, external_data: bool | None) -> SavedFiles:
    """Copy an opaque model byte for byte; data files keep their names, to which the model refers."""
    if external_data not in {None, model.has_external_data}:
        raise UsageError(
            f"{path}: the model is passed through as it came, because {model.opaque}; leave the option for "
            "external data out"
        )
    data = model.files[1:] if model.path else model.files
    targets = [path.parent / file.relative_to(model.folder) for file in data if model.folder is not None]
    with staging(path.parent, model.nbytes) as stage:
        moves = []
        for index, (source, target) in enumerate(zip(data, targets, strict=True)):
            if target.exists() and target.samefile(source):
                continue
            check_destination(target, model.files)
            moves.append((stage / str(index), target))
            copy(source, moves[-1][0])
        moves.append((stage / path.name, path))
        if model.path:
            copy(model.path, moves[-1][0])
        else:
            with durable(moves[-1][0]) as file:
                file.write(model.proto.SerializeToString())
        commit(moves)
    return _saved(path, targets)


def _saved(path: Path, data: Sequence[Path]) -> SavedFiles:
    return SavedFiles(path, tuple(data), sum(file.stat().st_size for file in (path, *data)))
