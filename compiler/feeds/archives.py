"""``.npz`` and ``.npy`` files: the types and shapes of the arrays in one, without their values, and the arrays."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from regc.compiler.errors import UsageError

SUFFIX = ".npy"
MAGIC = b"\x93NUMPY"
"""How a file begins that holds one array, without a name."""
READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
"""By the version of an array's header; version 3 is for structured arrays, which no model takes."""


@dataclass(frozen=True)
class Header:
    """Type and shape of an array."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


def read_headers(path: Path) -> dict[str, Header]:
    """The types and shapes of the arrays in an ``.npz`` file, by name.

    Raises:
        UsageError: it is no such file, or holds something other than plain arrays.
    """
    with _opened(path) as archive:
        found = {}
        for member in archive.namelist():
            with archive.open(member) as stream:
                found[member.removesuffix(SUFFIX)] = _header(stream, member)
        return found


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays in an ``.npz`` file, by name. Raises UsageError when it cannot be read."""
    with _opened(path) as archive:
        found = {}
        for member in archive.namelist():
            with archive.open(member) as stream:
                found[member.removesuffix(SUFFIX)] = np.asarray(npy.read_array(stream, allow_pickle=False))
        return found


def read_header(path: Path) -> Header:
    """The type and shape of the array in an ``.npy`` file. Raises UsageError when it cannot be read."""
    with _single(path) as stream:
        return _header(stream, path.name)


def read_array(path: Path) -> npt.NDArray[Any]:
    """The array in an ``.npy`` file. Raises UsageError when it cannot be read."""
    with _single(path) as stream:
        return np.asarray(npy.read_array(stream, allow_pickle=False))


@contextmanager
def _single(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except (OSError, ValueError, EOFError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UsageError(f"{path} cannot be read as .npy ({reason}); write it with numpy.save(path, array)") from error


def _header(stream: IO[bytes], member: str) -> Header:
    version = npy.read_magic(stream)
    if version not in READERS:
        raise ValueError(f"{member} is not a plain array")
    shape, _, dtype = READERS[version](stream)
    if dtype.hasobject:
        raise ValueError(f"{member} holds Python objects, not numbers or text")
    return Header(dtype, tuple(shape))


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, with all that can be wrong in it as UsageError."""
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) == MAGIC:
                raise ValueError("it holds a single array without a name")
            with zipfile.ZipFile(file) as archive:
                yield archive
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UsageError(
            f"{path} cannot be read as .npz ({reason}); write it with numpy.savez(path, name=array)"
        ) from error
