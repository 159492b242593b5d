"""How GraphSurgeon sees the types of tensors and the values of attributes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import AttributeProto, TypeProto, ValueInfoProto

from regc.compiler.model import dtypes

FIELDS = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.TYPE_PROTOS: "type_protos",
    AttributeProto.SPARSE_TENSORS: "sparse_tensors",
}
"""Where an AttributeProto keeps its value, for types whose value is taken as it is."""


@dataclass(frozen=True)
class Typed:
    """What a GraphSurgeon variable can say of a ValueInfoProto."""

    kind: str
    dtype: Any = None
    shape: list[int | str | None] | None = None


def typed(info: ValueInfoProto) -> Typed | None:
    """Kind of type, element type and shape, None when the proto has no type.

    Only tensors have a shape; element types of maps and optionals are left out.
    """
    kind = info.type.WhichOneof("value")
    if kind is None:
        return None
    if kind in {"tensor_type", "sparse_tensor_type"}:
        tensor = getattr(info.type, kind)
        return Typed(kind, _dtype(tensor.elem_type), _shape(tensor))
    if kind == "sequence_type":
        return Typed(kind, _dtype(info.type.sequence_type.elem_type.tensor_type.elem_type))
    return Typed(kind)


def merged(infos: Iterable[ValueInfoProto]) -> Typed | None:
    """What several descriptions say of one tensor; the first that says something wins, part by part."""
    said = [one for one in map(typed, infos) if one is not None]
    if not said:
        return None
    dtype = next((one.dtype for one in said if one.dtype is not None), None)
    return Typed(said[0].kind, dtype, next((one.shape for one in said if one.shape is not None), None))


def plain_attribute(attribute: AttributeProto) -> Any:
    """The Python value of an attribute that is neither a tensor, a graph nor a reference.

    Strings that are not UTF-8 stay bytes.
    """
    if attribute.type == AttributeProto.STRING:
        return _text(attribute.s)
    if attribute.type == AttributeProto.STRINGS:
        return [_text(item) for item in attribute.strings]
    value = getattr(attribute, FIELDS[attribute.type])
    return value if isinstance(value, (int, float, TypeProto, onnx.SparseTensorProto)) else list(value)


def _dtype(data_type: int) -> Any:
    return dtypes.numpy_type(data_type) if dtypes.known(data_type) else None


def _shape(tensor: Any) -> list[int | str | None] | None:
    if not tensor.HasField("shape"):
        return None
    return [getattr(dim, dim.WhichOneof("value")) if dim.WhichOneof("value") else None for dim in tensor.shape.dim]


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
