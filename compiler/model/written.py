"""A look at a model file that was just written, before it takes its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import ModelProto

from regc.compiler.errors import RegcError
from regc.compiler.model.integrity import Origin, check, is_external
from regc.compiler.model.protos import tensors
from regc.compiler.model.reader import read
from regc.compiler.model.storage import stamp_of
from regc.compiler.model.writer import ALIGNMENT


def check_written(name: str, path: Path, data: Path | None, input_passes: Callable[[], bool]) -> None:
    """Raise RegcError unless a file parses, its values are in order and onnx.checker accepts it; ``name`` is what it is
    going to be called.

    It is read as a user's model is, large weights as external data of the file itself. The checker looks at no values
    and gets that message, beside the file: given the file it parses all of it, which took 0.07 s of 40 MB of weights.

    A model that the checker refused before may be refused after: ``input_passes`` tells, and is asked only
    then.
    """
    proto = read(path)
    check(proto, Origin(name, path.parent, path.parent, {path: stamp_of(path)}))
    if data is not None:
        _check_ranges(proto, data)
    light = path.with_name(f"{path.name}.light")
    light.write_bytes(proto.SerializeToString())
    complaint = _complaint(light)
    if complaint is not None and input_passes():
        raise RegcError(
            f"{name}: onnx.checker refuses the new model, which is not saved: {complaint}; this is a defect of a pass"
        )


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
