"""Convolution by a product or a sum of matrices: several smaller convolutions in the place of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.emit import Emitter
from regc.compiler.layout import Reshape, Shape
from regc.compiler.sites import Reader
from regc.compiler.terms import Dense, Product, Sum, Term

_FLOAT32 = np.dtype(np.float32)


def convolve(emitter: Emitter, reader: Reader, term: Term) -> gs.Tensor:
    """Emit a Conv without groups whose kernel, as a matrix ``[out, in * kernel]``, is the term.

    A product A @ B is the Conv of the original kernel size with B's rows as outputs, then a 1x1 Conv with A.
    """
    x, *bias = reader.node.inputs[0], *reader.node.inputs[2:]
    return _convolve(emitter, term, x, reader.dtype, reader.shape[2:], dict(reader.node.attrs), bias)


def _convolve(
    emitter: Emitter, term: Term, x: gs.Tensor, dtype: np.dtype[Any], kernel: Shape, attributes: Mapping[str, Any], bias: list[gs.Tensor]
) -> gs.Tensor:
    match term:
        case Product():
            inner = _convolve(emitter, term.second, x, dtype, kernel, attributes, [])
            pointwise = {"kernel_shape": [1] * len(kernel)}
            return _convolve(emitter, term.first, inner, dtype, (1,) * len(kernel), pointwise, bias)
        case Sum():
            first = _convolve(emitter, term.first, x, dtype, kernel, attributes, bias)
            return emitter.op("Add", [first, _convolve(emitter, term.second, x, dtype, kernel, attributes, [])])
    return emitter.op("Conv", [x, _kernel(emitter, term, dtype, kernel), *bias], **attributes)


def _kernel(emitter: Emitter, term: Term, dtype: np.dtype[Any], kernel: Shape) -> gs.Tensor:
    """A leaf as the kernel tensor ``[out, in, *kernel]``."""
    rows, columns = term.shape
    shape = (rows, columns // int(np.prod(kernel)), *kernel)
    if isinstance(term, Dense):
        return emitter.operands.dense(term, f"kernel{shape}", emitter.name, term.values.astype(dtype).reshape(shape))
    return emitter.cast(emitter.moved(emitter.decode(term), [Reshape(shape)]), _FLOAT32, dtype)
