"""The bytes of a model file and of its data file, streamed: of each weight only a chunk is in memory."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import IO

from onnx import GraphProto, ModelProto, TensorProto

from regc.compiler.errors import RegcError
from regc.compiler.model.protos import assign, make_external
from regc.compiler.model.storage import StoredValues
from regc.compiler.model.wire import prefix

ALIGNMENT = 64
"""Of every tensor in a data file: kernels use the mapped bytes in place."""
PAGE = 4096
"""Alignment of tensors of at least :data:`PAGED` bytes."""
PAGED = 1 << 20
EXTERNAL_FROM = 1024
"""Bytes from which on values go into the data file."""
PROTOBUF_LIMIT = 2**31 - 1
"""Protobuf parsers refuse longer messages."""


@dataclass
class Draft:
    """A ModelProto whose large values are still to be written.

    ``initializers`` holds those of the main graph, by index, ``others`` those of tensors anywhere else.
    """

    proto: ModelProto = field(default_factory=ModelProto)
    initializers: dict[int, StoredValues] = field(default_factory=dict)
    others: list[tuple[TensorProto, StoredValues]] = field(default_factory=list)

    def payloads(self) -> list[tuple[TensorProto, StoredValues]]:
        """Every tensor whose values were left out."""
        stored = self.proto.graph.initializer
        return [(stored[index], values) for index, values in self.initializers.items()] + self.others


@dataclass(frozen=True)
class Layout:
    """What goes where in a data file: ``(offset, values)`` in order, and the length of the file."""

    places: tuple[tuple[int, StoredValues], ...]
    length: int


def place_external(draft: Draft, location: str) -> Layout:
    """Point every tensor that was left out to a place in the data file ``location``.

    Values that share their bytes share their place.
    """
    offsets: dict[Hashable, int] = {}
    places: list[tuple[int, StoredValues]] = []
    end = 0
    for tensor, values in draft.payloads():
        if values.share_key not in offsets:
            offset = end + -end % (PAGE if values.nbytes >= PAGED else ALIGNMENT)
            offsets[values.share_key] = offset
            places.append((offset, values))
            end = offset + values.nbytes
        make_external(tensor, location=location, offset=offsets[values.share_key], length=values.nbytes)
    return Layout(tuple(places), end)


def write_data(file: IO[bytes], layout: Layout) -> None:
    """Write the data file."""
    position = 0
    for offset, values in layout.places:
        file.write(bytes(offset - position))
        _copy(values, file)
        position = offset + values.nbytes


def write_single(file: IO[bytes], draft: Draft) -> None:
    """Write one self-contained model file. Uses ``draft`` up. Raises RegcError above 2 GiB.

    A ModelProto whose ``graph`` comes last, a GraphProto whose initializers come last, and TensorProtos whose
    values come last are ordinary protobuf: fields may have any order.
    """
    for tensor, values in draft.others:
        name = tensor.name
        values.fill(tensor)
        assign(tensor, name=name)
    graph = draft.proto.graph
    heads = [tensor.SerializeToString() for tensor in graph.initializer]
    sizes = [_tensor_size(head, draft.initializers.get(index)) for index, head in enumerate(heads)]
    graph.ClearField("initializer")
    graph_bytes = graph.SerializeToString()
    draft.proto.ClearField("graph")
    rest = draft.proto.SerializeToString()
    initializers = sum(len(prefix(GraphProto, "initializer", size)) + size for size in sizes)
    _check_limit(len(rest) + len(graph_bytes) + initializers)
    file.write(rest)
    file.write(prefix(ModelProto, "graph", len(graph_bytes) + initializers))
    file.write(graph_bytes)
    for index, (head, size) in enumerate(zip(heads, sizes, strict=True)):
        file.write(prefix(GraphProto, "initializer", size))
        file.write(head)
        if index in draft.initializers:
            file.write(prefix(TensorProto, "raw_data", draft.initializers[index].nbytes))
            _copy(draft.initializers[index], file)


def _copy(values: StoredValues, file: IO[bytes]) -> None:
    written = sum(file.write(chunk) for chunk in values.chunks())
    if written != values.nbytes:
        raise RegcError(
            f"tensor '{values.header.name}': holds {written} bytes where its type and shape take {values.nbytes}"
        )


def _tensor_size(head: bytes, values: StoredValues | None) -> int:
    return len(head) + (len(prefix(TensorProto, "raw_data", values.nbytes)) + values.nbytes if values else 0)


def _check_limit(size: int) -> None:
    if size > PROTOBUF_LIMIT:
        raise RegcError(
            f"a single model file would take {size} bytes, more than the 2 GiB that protobuf allows; save "
            "with external data"
        )
