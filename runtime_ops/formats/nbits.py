"""The format of ONNX Runtime's ``com.microsoft::MatMulNBits``: blocks of inputs that share a scale.

The first input of a byte is in its lowest bits. Without zero points a code of ``2**(bits - 1)`` is zero.
"""

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]


def pack(levels: npt.NDArray[np.integer], bits: int, block: int) -> UInt8:
    """Pack signed levels ``[N, K]`` into uint8 ``[N, ceil(K/block), block * bits / 8]``, padding with zeros.

    Raises:
        ValueError: a level that the bits cannot hold.
    """
    zero = 1 << (bits - 1)
    if levels.size and (levels.min() < -zero or levels.max() >= zero):
        raise ValueError(f"levels must be {-zero} to {zero - 1}")
    rows, columns = levels.shape
    codes = np.full((rows, -(-columns // block) * block), zero, np.uint8)
    codes[:, :columns] = levels.astype(np.int16) + zero
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    fields = codes.reshape(rows, -1, block * bits // 8, shifts.size) << shifts
    return np.ascontiguousarray(fields.sum(-1, dtype=np.uint8))


def unpack(packed: UInt8, bits: int, columns: int) -> npt.NDArray[np.int16]:
    """Return the levels int16 ``[N, columns]`` that :func:`pack` packed."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (packed[..., None] >> shifts & ((1 << bits) - 1)).reshape(len(packed), -1)
    return codes[:, :columns].astype(np.int16) - (1 << (bits - 1))
