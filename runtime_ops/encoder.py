"""RF8 codes and scales of whole weights, by the operator library: what compiling would otherwise spend its time on.

The library does it with the vectors of the CPU, and threads of this process share the rows. On two cores with AVX-512,
of 42 million weights in eight: 0.04 s each for the scales, the codes and their error. Together that is as long as
copying these weights takes on a disk of 1 GB/s; what compiling takes beside is told in ``benchmarks/compile_time.py``.

Arrays are float32 in C order. Everything raises OperatorLibraryError where the library is missing or is of another
version of regc.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from regc.runtime_ops import OperatorLibraryError, library_path
from regc.runtime_ops.formats import rf8
from regc.runtime_ops.threads import share

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

MOST_INPUTS, MOST_STEPS = 512, 16
"""Of a row that a scale is judged by, and scales that are tried."""
_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t
_ARGUMENTS = {
    "regc_rf8_codes": (_POINTER, _SIZE, _POINTER, _POINTER),
    "regc_rf8_pack": (_POINTER, _POINTER, _SIZE, _SIZE, _POINTER, _POINTER),
    "regc_rf8_scales": (_POINTER, _SIZE, _SIZE, _POINTER, _SIZE, _POINTER, _SIZE, _POINTER),
    "regc_rf8_missed": (_POINTER, _POINTER, _POINTER, _SIZE, _SIZE, _POINTER, _POINTER),
}


def codes_of(x: Float32, thresholds: Int32) -> UInt8:
    """RF8 codes uint8 of values float32 in any shape, by the least significand of each residual code int32 ``[7]``."""
    x = _plain(x)
    codes = np.empty(x.shape, np.uint8)
    _call("regc_rf8_codes", _at(x), x.size, _at(thresholds), _at(codes))
    return codes


def pack(weight: Float32, scale: Float32, thresholds: Int32) -> UInt8:
    """Codes of ``weight / scale``, packed (:mod:`regc.runtime_ops.formats.rf8`), of a weight float32 ``[N, K]`` with
    scales float32 ``[N]``: uint8 ``[ceil(N/16), ceil(K/4), 4, 2, 4, 2]``, by thresholds as :func:`codes_of` has them.
    """
    weight, scale = _plain(weight), _plain(scale)
    rows, columns = weight.shape
    packed = np.empty((-(-rows // rf8.TILE), -(-columns // rf8.BLOCK), 4, 2, 4, 2), np.uint8)

    def part(rows: slice) -> None:
        tile, count = rows.start // rf8.TILE, rows.stop - rows.start
        given = _at(weight[rows]), _at(scale[rows]), count, columns, _at(thresholds)
        _call("regc_rf8_pack", *given, _at(packed[tile:]))

    share(rows, rf8.TILE, weight.size, part)
    return packed


def best_scales(weight: Float32, octave: Float32, inputs: Int64, steps: Float32) -> Float32:
    """Scales float32 ``[N]`` of a weight float32 ``[N, K]``: ``octave`` float32 ``[N]``, powers of two, times the one
    of ``steps`` float32, from 1 up to 2, that leaves the least squared error of rounding to the nearest member, judged
    by the columns ``inputs`` int64; the first of equals. None is above ``2**127``.

    Raises:
        ValueError: there are more inputs or steps than MOST_INPUTS and MOST_STEPS.
    """
    if len(inputs) > MOST_INPUTS or len(steps) > MOST_STEPS:
        raise ValueError(f"{len(inputs)} inputs and {len(steps)} steps, where {MOST_INPUTS} and {MOST_STEPS} may be")
    weight, scale = _plain(weight), np.array(octave, np.float32)

    def part(rows: slice) -> None:
        given = _at(weight[rows]), rows.stop - rows.start, weight.shape[1], _at(inputs), len(inputs)
        _call("regc_rf8_scales", *given, _at(steps), len(steps), _at(scale[rows]))

    share(len(weight), rf8.TILE, weight.size, part)
    return scale


def squared_error(weight: Float32, scale: Float32, codes: UInt8) -> float:
    """The sum of the squares of what packed codes with scales float32 ``[N]`` miss of a weight float32 ``[N, K]``."""
    weight, scale, codes = _plain(weight), _plain(scale), np.ascontiguousarray(codes)
    missed: Float64 = np.empty(len(weight))

    def part(rows: slice) -> None:
        given = _at(weight[rows]), _at(scale[rows]), _at(codes[rows.start // rf8.TILE :])
        size = rows.stop - rows.start, weight.shape[1]
        _call("regc_rf8_missed", *given, *size, _at(rf8.VALUES), _at(missed[rows]))

    share(len(weight), rf8.TILE, weight.size, part)
    return float(missed.sum())


def _plain(values: Float32) -> Float32:
    """In C order and aligned, a copy if need be."""
    return np.require(values, np.float32, ("C", "A"))


def _at(array: npt.NDArray[Any]) -> int:
    """Where its values begin; nothing is there of an array without values."""
    return int(array.ctypes.data)


def _call(name: str, *arguments: int) -> None:
    """Call a function of the library, which lets other threads of Python run meanwhile."""
    if _function(os.environ.get("REGC_OPS_LIBRARY"), name)(*arguments):
        raise OperatorLibraryError(f"REGC_ISA is '{os.environ.get('REGC_ISA')}', which is no instruction set; unset it")


@cache
def _function(named: str | None, name: str) -> Any:
    """A function of the library that is there with this REGC_OPS_LIBRARY, which may change between calls."""
    library = library_path()
    try:
        function = getattr(ctypes.CDLL(str(library)), name)
    except OSError as error:
        raise OperatorLibraryError(f"{library} cannot be loaded: {error}") from error
    except AttributeError as error:
        raise OperatorLibraryError(f"{library} has no {name}: it is of another regc, build it again") from error
    function.argtypes, function.restype = _ARGUMENTS[name], ctypes.c_int
    return function
