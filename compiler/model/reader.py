"""The message in a model file without its large weights, which stay where they are.

Protobuf would copy every weight two or three times before anybody reads it: 0.2 of the 1.0 s that RF8 took for eight
weights of 170 MB.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import IO

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorProto

from regc.compiler.errors import MissingError, ModelError
from regc.compiler.model.integrity import is_external
from regc.compiler.model.protos import make_external
from regc.compiler.model.wire import BYTES, Field, fields, number_of, piece, prefix, rewritten
from regc.compiler.model.writer import EXTERNAL_FROM, PROTOBUF_LIMIT

LFS_POINTER = b"version https://git-lfs"
"""How a file begins that Git LFS left in place of a large one."""
_GRAPH = number_of(ModelProto, "graph"), BYTES
_INITIALIZER = number_of(GraphProto, "initializer"), BYTES
_RAW = number_of(TensorProto, "raw_data"), BYTES


def read(path: Path) -> ModelProto:
    """The message in a model file, in which initializers of at least :data:`EXTERNAL_FROM` bytes are external data, of
    the file itself.

    Raises:
        MissingError: there is no such file.
        ModelError: it is no ONNX file, or is cut short.
    """
    try:
        size = _checked_size(path)
        with path.open("rb") as file:  # mapped, large pages of all of it would count as memory of this process
            head = piece(file, 0, len(LFS_POINTER))
            if head[4:8] == b"ORTM":
                raise ModelError(f"{path}: is in ONNX Runtime's own format; give the .onnx file it was made of")
            if head == LFS_POINTER:
                raise ModelError(f"{path}: is a Git LFS pointer, not the model; fetch the model with: git lfs pull")
            proto: ModelProto = ModelProto.FromString(rewritten(file, 0, size, partial(_graph, file, path.name)))
            return proto
    except FileNotFoundError as error:
        raise MissingError(f"{path}: there is no such file; check the path") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except DecodeError as error:
        raise ModelError(f"{path}: is no ONNX file, or is cut short; fetch or export it again") from error


def _checked_size(path: Path) -> int:
    if not path.is_file() and path.exists():
        raise ModelError(f"{path}: is no file; give the path of an .onnx file")
    size = path.stat().st_size
    if not size:
        raise ModelError(f"{path}: is empty; fetch or export the model again")
    if size > PROTOBUF_LIMIT:
        raise ModelError(f"{path}: is over 2 GiB, which protobuf cannot hold; save it with external data")
    return size


def _graph(file: IO[bytes], name: str, field: Field) -> bytes | None:
    """The field with the graph, without weights; None for another field."""
    if field[:2] != _GRAPH:
        return None
    graph = rewritten(file, field.start, field.stop, partial(_initializer, file, name))
    return prefix(ModelProto, "graph", len(graph)) + graph


def _initializer(file: IO[bytes], name: str, field: Field) -> bytes | None:
    """The field with a large initializer as external data of the file ``name``; None for another field."""
    if field[:2] != _INITIALIZER or field.stop - field.start < EXTERNAL_FROM:
        return None
    raw = [part for part in fields(file, field.start, field.stop) if part[:2] == _RAW]
    if len(raw) != 1 or (size := raw[0].stop - raw[0].start) < EXTERNAL_FROM:
        return None
    tensor = TensorProto.FromString(piece(file, field.start, raw[0].begin) + piece(file, raw[0].stop, field.stop))
    if is_external(tensor) or tensor.data_type == TensorProto.STRING:  # an error, to be told as what it is
        return None
    make_external(tensor, location=name, offset=raw[0].start, length=size)
    head: bytes = tensor.SerializeToString()
    return prefix(GraphProto, "initializer", len(head)) + head
