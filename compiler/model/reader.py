"""The message in a model file without its large weights, which stay where they are.

Protobuf would copy every weight two or three times before anybody reads it: 0.3 of the 0.9 s that RF8 took for eight
weights of 170 MB.
"""

from __future__ import annotations

import mmap
from functools import partial
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorProto

from regc.compiler.errors import MissingError, ModelError
from regc.compiler.model.integrity import is_external
from regc.compiler.model.protos import make_external
from regc.compiler.model.wire import BYTES, Content, Field, fields, number_of, prefix, rewritten
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
        _check_size(path)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content[4:8] == b"ORTM":
                raise ModelError(f"{path}: is in ONNX Runtime's own format; give the .onnx file it was made of")
            if content[: len(LFS_POINTER)] == LFS_POINTER:
                raise ModelError(f"{path}: is a Git LFS pointer, not the model; fetch the model with: git lfs pull")
            proto: ModelProto = ModelProto.FromString(_without_weights(content, path.name))
            return proto
    except FileNotFoundError as error:
        raise MissingError(f"{path}: there is no such file; check the path") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except DecodeError as error:
        raise ModelError(f"{path}: is no ONNX file, or is cut short; fetch or export it again") from error


def _check_size(path: Path) -> None:
    if not path.is_file() and path.exists():
        raise ModelError(f"{path}: is no file; give the path of an .onnx file")
    size = path.stat().st_size
    if not size:
        raise ModelError(f"{path}: is empty; fetch or export the model again")
    if size > PROTOBUF_LIMIT:
        raise ModelError(f"{path}: is over 2 GiB, which protobuf cannot hold; save it with external data")


def _without_weights(content: Content, name: str) -> bytes:
    return rewritten(content, 0, len(content), partial(_graph, content, name))


def _graph(content: Content, name: str, field: Field) -> bytes | None:
    """The field with the graph, without weights; None for another field."""
    if field[:2] != _GRAPH:
        return None
    graph = rewritten(content, field.start, field.stop, partial(_initializer, content, name))
    return prefix(ModelProto, "graph", len(graph)) + graph


def _initializer(content: Content, name: str, field: Field) -> bytes | None:
    """The field with a large initializer as external data of the file ``name``; None for another field."""
    if field[:2] != _INITIALIZER or field.stop - field.start < EXTERNAL_FROM:
        return None
    raw = [part for part in fields(content, field.start, field.stop) if part[:2] == _RAW]
    if len(raw) != 1 or (size := raw[0].stop - raw[0].start) < EXTERNAL_FROM:
        return None
    tensor = TensorProto.FromString(content[field.start : raw[0].begin] + content[raw[0].stop : field.stop])
    if is_external(tensor) or tensor.data_type == TensorProto.STRING:  # an error, to be told as what it is
        return None
    make_external(tensor, location=name, offset=raw[0].start, length=size)
    head: bytes = tensor.SerializeToString()
    return prefix(GraphProto, "initializer", len(head)) + head
