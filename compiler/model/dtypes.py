"""Element types: ONNX enumerators, NumPy types, and the bytes that tensors of them take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

PACKED_BITS: dict[int, int] = {
    TensorProto.DataType.Value(name): bits
    for name, bits in {
        "INT4": 4,
        "UINT4": 4,
        "FLOAT4E2M1": 4,
        "INT2": 2,
        "UINT2": 2,
        "FLOAT6E2M3": 6,
        "FLOAT6E3M2": 6,
    }.items()
    if name in TensorProto.DataType.keys()  # noqa: SIM118  an enum wrapper is no container
}
"""Bits of the types that are stored several to a byte. Older onnx packages know fewer."""


def known(data_type: int) -> bool:
    """Whether the installed onnx package knows the enumerator, and it is not UNDEFINED."""
    return data_type in onnx.helper.get_all_tensor_dtypes()


def type_name(data_type: int) -> str:
    """``FLOAT`` and so on."""
    return str(TensorProto.DataType.Name(data_type))


def numpy_type(data_type: int) -> np.dtype[Any]:
    """The NumPy type of an ONNX enumerator; from ml_dtypes where NumPy has none; object for strings."""
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(data_type))


def onnx_type(dtype: Any) -> int:
    """The ONNX enumerator of a NumPy type; an enumerator is given back. 0 (UNDEFINED) for None."""
    if dtype is None:
        return TensorProto.UNDEFINED
    if isinstance(dtype, int):
        return dtype
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype).newbyteorder("=")))


def is_packed(data_type: int) -> bool:
    """Whether several elements share a byte."""
    return data_type in PACKED_BITS


def payload_bytes(data_type: int, shape: Sequence[int]) -> int:
    """Bytes of ``raw_data`` for a tensor; 0 for strings, which have no such form."""
    if data_type == TensorProto.STRING:
        return 0
    count = math.prod(shape)
    if data_type in PACKED_BITS:
        return -(-count * PACKED_BITS[data_type] // 8)
    return count * numpy_type(data_type).itemsize
