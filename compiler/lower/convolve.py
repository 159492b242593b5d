"""Convolution by a product or a sum of matrices: several smaller convolutions in the place of one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.lower.emit import Emitter
from regc.compiler.sites import Reader
from regc.compiler.sites.layout import Reshape, Shape
from regc.compiler.terms import Dense, Product, Sum, Term

_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True)
class _Convolution:
    """A Conv without groups to be emitted: the spatial sizes of its kernel, its attributes, its bias if any."""

    dtype: np.dtype[Any]
    kernel: Shape
    attributes: dict[str, Any]
    bias: tuple[gs.Tensor, ...]


def convolve(emitter: Emitter, reader: Reader, term: Term) -> gs.Tensor:
    """Emit a Conv without groups whose kernel, as a matrix ``[out, in * kernel]``, is the term.

    A product A @ B is the Conv of the original kernel size with B's rows as outputs, then a 1x1 Conv with A.
    """
    inputs = reader.node.inputs
    whole = _Convolution(reader.dtype, reader.shape[2:], dict(reader.node.attrs), tuple(inputs[2:]))
    return _convolve(emitter, term, inputs[0], whole)


def _convolve(emitter: Emitter, term: Term, x: gs.Tensor, conv: _Convolution) -> gs.Tensor:
    match term:
        case Product():
            inner = _convolve(emitter, term.second, x, replace(conv, bias=()))
            ones = (1,) * len(conv.kernel)
            return _convolve(
                emitter, term.first, inner, replace(conv, kernel=ones, attributes={"kernel_shape": [*ones]})
            )
        case Sum():
            first = _convolve(emitter, term.first, x, conv)
            return emitter.op("Add", [first, _convolve(emitter, term.second, x, replace(conv, bias=()))])
    return emitter.op("Conv", [x, _kernel(emitter, term, conv), *conv.bias], **conv.attributes)


def _kernel(emitter: Emitter, term: Term, conv: _Convolution) -> gs.Tensor:
    """A leaf as the kernel tensor ``[out, in, *kernel]``."""
    rows, columns = term.shape
    shape = (rows, columns // math.prod(conv.kernel), *conv.kernel)
    if isinstance(term, Dense):
        values = term.values.astype(conv.dtype).reshape(shape)
        return emitter.operands.dense(term, f"kernel{shape}", emitter.name, values)
    return emitter.cast(emitter.moved(emitter.decode(term), [Reshape(shape)]), _FLOAT32, conv.dtype)
