"""A look at a model file that was just written, before it takes its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import ModelProto

from regc.compiler.errors import RegcError
from regc.compiler.model.integrity import is_external
from regc.compiler.model.protos import tensors
from regc.compiler.model.writer import ALIGNMENT


def check_written(path: Path, data: Path | None, input_passes: Callable[[], bool]) -> None:
    """Raise RegcError unless the file parses, its external data is in order, and onnx.checker accepts it.

    A model that the checker refused before may be refused after: ``input_passes`` tells, and is asked only
    then.
    """
    if data is not None:
        _check_ranges(ModelProto.FromString(path.read_bytes()), data)
    complaint = _complaint(path)
    if complaint is None:
        return
    if input_passes():
        raise RegcError(
            f"{path.name}: onnx.checker refuses the new model, which is not saved: {complaint}; this is a "
            "defect of a pass"
        )
    ModelProto.FromString(path.read_bytes())


def passes_checker(path: Path | None, proto: ModelProto) -> bool:
    """Whether onnx.checker accepts a model: the file if there is one, else the proto."""
    return _complaint(path if path is not None else proto) is None


def _complaint(model: Path | ModelProto) -> str | None:
    try:
        onnx.checker.check_model(str(model) if isinstance(model, Path) else model)
    except onnx.checker.ValidationError as error:
        return str(error)
    return None


def _check_ranges(proto: ModelProto, data: Path) -> None:
    ranges = set()
    for tensor, where in tensors(proto):
        if is_external(tensor):
            keys = {entry.key: entry.value for entry in tensor.external_data}
            start, length = int(keys["offset"]), int(keys["length"])
            if keys["location"] != data.name or start % ALIGNMENT:
                raise RegcError(
                    f"{data.name}: {where} was placed at {keys['location']}:{start}; the model is not saved"
                )
            ranges.add((start, start + length))
    end = 0
    for start, stop in sorted(ranges):
        if start < end:
            raise RegcError(f"{data.name}: two tensors overlap at byte {start}; the model is not saved")
        end = stop
    if end != data.stat().st_size:
        raise RegcError(
            f"{data.name}: has {data.stat().st_size} bytes where the model refers to {end}; the model is not saved"
        )
