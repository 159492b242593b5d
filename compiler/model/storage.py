"""Where the values of constants live: in the parsed model, in a file or in an array.

A ``gs.Constant`` of an opened model holds :class:`StoredValues`. Reading them with :func:`load_values` leaves
nothing behind in the graph, where ``constant.values`` would keep a copy of the weight for as long as the
graph lives.
"""

from __future__ import annotations

import mmap
from abc import abstractmethod
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper
from onnx_graphsurgeon import Constant
from onnx_graphsurgeon.ir.tensor import LazyValues, SparseValues

from regc.compiler.errors import ModelError
from regc.compiler.model.dtypes import is_packed, numpy_type, onnx_type, payload_bytes
from regc.compiler.model.protos import header_of

CHUNK = 4 << 20
"""Bytes that are in memory at a time while values are copied from file to file."""
Array = npt.NDArray[Any]


class Stamp(NamedTuple):
    """What tells a file from what is later there under its name: bytes, and nanoseconds of its last change."""

    size: int
    changed: int


def stamp_of(path: Path) -> Stamp:
    """The stamp of a file as it is now. Raises OSError when it is gone."""
    found = path.stat()
    return Stamp(found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Region:
    """``length`` bytes of a file, from ``offset`` on; of a file of somebody else's with its ``stamp``."""

    file: Path | IO[bytes]
    offset: int
    length: int
    stamp: Stamp | None = None

    def map(self) -> npt.NDArray[np.uint8]:
        """A new read-only mapping, which goes with the array.

        Raises ModelError when the file has changed since it was opened.
        """
        if not self.length:
            return np.empty(0, np.uint8)
        before = self.offset % mmap.ALLOCATIONGRANULARITY  # np.memmap does this, too, but takes three times as long
        try:
            with self._open() as file:
                start, length = self.offset - before, before + self.length
                mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=start)
        except (OSError, ValueError) as error:
            raise self._changed() from error
        return np.frombuffer(mapped, np.uint8, self.length, before)

    def chunks(self) -> Iterator[bytes]:
        """The bytes, at most :data:`CHUNK` at a time.

        Raises ModelError when the file has changed since it was opened.
        """
        with self._open() as file:
            file.seek(self.offset)
            left = self.length
            while left:
                chunk = file.read(min(left, CHUNK))
                if not chunk:
                    raise self._changed()
                left -= len(chunk)
                yield chunk

    def _open(self) -> AbstractContextManager[IO[bytes]]:
        try:
            self._check()
            return self.file.open("rb") if isinstance(self.file, Path) else nullcontext(self.file)
        except OSError as error:
            raise self._changed() from error

    def _check(self) -> None:
        """Raise ModelError when there is another file than was opened, OSError when there is none."""
        if self.stamp is not None and isinstance(self.file, Path) and stamp_of(self.file) != self.stamp:
            raise self._changed()

    def _changed(self) -> ModelError:
        name = self.file if isinstance(self.file, Path) else "temporary file"
        return ModelError(
            f"{name}: was changed or removed while the model was in use; leave it alone until the compiler has ended"
        )


class StoredValues(LazyValues):  # type: ignore[misc]
    """The values of a tensor, wherever they are.

    ``shape`` is a tuple, ``dtype`` a NumPy type (of ml_dtypes for bfloat16 and its like).
    ``nbytes`` counts the bytes that the values take in a file. ``header`` is the TensorProto without them.
    """

    def __init__(self, header: TensorProto) -> None:
        self.header = header
        self.shape: tuple[int, ...] = tuple(header.dims)
        self.dtype: np.dtype[Any] = numpy_type(header.data_type)
        self.nbytes: int = payload_bytes(header.data_type, self.shape)

    @abstractmethod
    def read(self) -> Array:
        """The values, read-only where they can be shared; nothing is kept."""

    def look(self) -> Array:
        """As :meth:`read`, but maybe not aligned: for those who copy the values, or read a few."""
        return self.read()

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The values as ONNX stores them in ``raw_data``, piece by piece."""
        array = self.read()
        raw = _packed(array) if is_packed(self.header.data_type) else _little_endian(array)
        for start in range(0, len(raw), CHUNK):
            yield raw[start : start + CHUNK]

    def fill(self, tensor: TensorProto) -> None:
        """Turn a TensorProto into one that holds these values itself, under the name that the header has."""
        tensor.CopyFrom(self.header)
        tensor.raw_data = b"".join(self.chunks())

    @property
    def share_key(self) -> Hashable:
        """Equal for values that are the same bytes of the same file, so that they are written once."""
        return id(self)

    @property
    def tensor(self) -> TensorProto:
        """A fresh TensorProto with name and values, as GraphSurgeon's own exporter asks for."""
        tensor = TensorProto()
        self.fill(tensor)
        return tensor

    def load(self) -> Array:
        """A writable copy, as GraphSurgeon asks for when somebody reads ``constant.values``."""
        return np.array(self.read())


class ParsedValues(StoredValues):
    """Values inside a TensorProto that is in memory. It is never modified."""

    def __init__(self, tensor: TensorProto) -> None:
        super().__init__(header_of(tensor))
        self._parsed = tensor

    def read(self) -> Array:
        """The values; a copy of the bytes, because protobuf gives no view."""
        return numpy_helper.to_array(self._parsed)

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The bytes of ``raw_data``, converted when the values are in a typed field."""
        return iter([self._parsed.raw_data]) if self._parsed.HasField("raw_data") else super().chunks()

    def fill(self, tensor: TensorProto) -> None:
        """Copy the tensor as it came: small values may stay in their typed field."""
        tensor.CopyFrom(self._parsed)


class FileValues(StoredValues):
    """Values in a file: external data, or the temporary file of a :class:`regc.compiler.model.scratch.Store`."""

    def __init__(self, header: TensorProto, region: Region) -> None:
        super().__init__(header)
        self.region = region

    def read(self) -> Array:
        """A new memory mapping, whose pages are given back together with the array, or a copy where it is not aligned.

        Inside a model file values begin anywhere, and what is not written in Python may rely on their alignment.
        """
        return np.require(self.look(), requirements="A")

    def look(self) -> Array:
        """A new memory mapping."""
        if is_packed(self.header.data_type):
            return numpy_helper.to_array(self.tensor)
        return self.region.map().view(self.dtype).reshape(self.shape)

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The bytes of the file."""
        return self.region.chunks()

    @property
    def share_key(self) -> Hashable:
        """Tied weights of a model may be one range of its data file."""
        file = self.region.file
        return (file if isinstance(file, Path) else id(file), self.region.offset, self.region.length)


class ArrayValues(StoredValues):
    """Values in an array in memory."""

    def __init__(self, array: Array) -> None:
        super().__init__(TensorProto(data_type=onnx_type(array.dtype), dims=array.shape))
        self._array = array

    def read(self) -> Array:
        """The array itself."""
        return self._array

    def fill(self, tensor: TensorProto) -> None:
        """Strings have a field of their own."""
        if self.dtype.kind != "O":
            super().fill(tensor)
        else:
            tensor.CopyFrom(numpy_helper.from_array(self._array))


class StoredSparse(SparseValues):  # type: ignore[misc]
    """A sparse initializer; kept in the graph as it came."""

    def __init__(self, tensor: onnx.SparseTensorProto) -> None:
        self.tensor = tensor
        self.shape: tuple[int, ...] = tuple(tensor.dims)
        self.dtype: np.dtype[Any] = numpy_type(tensor.values.data_type)
        self.nbytes: int = tensor.ByteSize()

    def load(self) -> Array:
        """The dense array.

        Indices are either positions in the flat tensor or one row of coordinates per value.
        """
        dense = np.zeros(self.shape, self.dtype)
        indices = numpy_helper.to_array(self.tensor.indices)
        where = np.unravel_index(indices, self.shape) if indices.ndim == 1 else tuple(indices.T)
        dense[where] = numpy_helper.to_array(self.tensor.values)
        return dense


def load_values(constant: Constant, *, aligned: bool = True) -> Array:
    """The values of a constant, without keeping them in the graph.

    The array is read-only unless it is the constant's own, and may be a copy unless it may be not ``aligned``. float16,
    float64 and bfloat16 (as ``ml_dtypes.bfloat16``) come as they are stored.
    """
    values = constant._values
    if isinstance(values, SparseValues):
        return np.asarray(values.load())
    return stored(values).read() if aligned else stored(values).look()


def stored(values: Any) -> StoredValues:
    """What a ``gs.Constant`` holds in ``_values``: an array, GraphSurgeon's own lazy values, or ours."""
    if isinstance(values, StoredValues):
        return values
    return ParsedValues(values.tensor) if isinstance(values, LazyValues) else ArrayValues(np.asarray(values))


def _little_endian(array: Array) -> memoryview:
    """The bytes of an array in C order, low byte first; a view of the array where it is so already."""
    contiguous = np.ascontiguousarray(array)
    swapped = contiguous.astype(contiguous.dtype.newbyteorder("<"), copy=False)
    return swapped.reshape(-1).view(np.uint8).data


def _packed(array: Array) -> memoryview:
    return memoryview(numpy_helper.from_array(array).raw_data)
