"""Convolution by a term: by an operator of ours where there is one that pays, and by several convolutions for a
product or a sum of matrices, or a kernel that is separable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.lower.emit import Emitter
from regc.compiler.lower.operands import Operands
from regc.compiler.lower.window import Window, window
from regc.compiler.model import load_values
from regc.compiler.sites import Reader
from regc.compiler.sites.chains import constant_of
from regc.compiler.sites.layout import Reshape, Shape
from regc.compiler.terms import Coded, Dense, Product, Separable, Sum, Term
from regc.runtime_ops.ops import OPERATORS

_FLOAT32 = np.dtype(np.float32)
_ALONG_AXES = {"strides": 1, "dilations": 1, "pads": 0}
"""Attributes of a Conv with values for each axis, with the one that does nothing."""


@dataclass(frozen=True)
class _Convolution:
    """A Conv without groups to be emitted: the spatial sizes of its kernel and, where known, of its input, its
    attributes, its bias if any, and the ending (see :mod:`regc.runtime_ops.endings`) with the tensor that it adds.
    """

    dtype: np.dtype[Any]
    kernel: Shape
    sizes: Sequence[object] | None
    attributes: dict[str, Any]
    bias: tuple[gs.Tensor, ...] = ()
    ending: str = ""
    other: gs.Tensor | None = None

    def pointwise(self) -> _Convolution:
        """The 1x1 convolution that may follow it, which has the bias and the ending."""
        ones = (1,) * len(self.kernel)
        return replace(self, kernel=ones, sizes=None, attributes={"kernel_shape": [*ones]})

    def along(self, axis: int) -> _Convolution:
        """The part of it along one axis; ``auto_pad`` pads the others by nothing, whose kernel and stride are 1."""
        rank = len(self.kernel)

        def there(values: Sequence[int], other: int) -> list[int]:
            return [value if place % rank == axis else other for place, value in enumerate(values)]

        kernel = there(self.kernel, 1)
        given = self.attributes
        split = {key: there(given[key], idle) for key, idle in _ALONG_AXES.items() if given.get(key)}
        return replace(self, kernel=tuple(kernel), attributes={**given, **split, "kernel_shape": kernel})

    def bare(self) -> _Convolution:
        """Without bias and ending."""
        return replace(self, bias=(), ending="", other=None)


def convolves(reader: Reader, term: Term, operands: Operands) -> bool:
    """Whether convolutions can take the place of a Conv that has the term as its weight, other than itself."""
    if isinstance(term, Separable):
        return term.kernel == reader.shape[2:]
    return isinstance(term, Product | Sum) or _operator(term, _convolution(reader), operands) is not None


def convolution_ends_in_ours(reader: Reader, term: Term, operands: Operands) -> bool:
    """Whether :func:`convolve` ends in an operator of ours, which can do what follows, too."""
    conv = _convolution(reader)
    while isinstance(term, Product | Separable):
        term, conv = term.first, conv.pointwise() if isinstance(term, Product) else conv.along(1)
    return _operator(term, conv, operands) is not None


def convolve(
    emitter: Emitter, reader: Reader, term: Term, ending: str = "", other: gs.Tensor | None = None
) -> gs.Tensor:
    """Emit a Conv without groups whose kernel, as a matrix ``[out, in * kernel]``, is the term, and what follows.

    A product A @ B is the Conv of the original kernel size with B's rows as outputs, then a 1x1 Conv with A.
    A separable kernel is a Conv along the rows' axis, then one along the columns'.
    """
    whole = replace(_convolution(reader), ending=ending, other=other)
    return _convolve(emitter, term, reader.node.inputs[0], whole)


def _convolution(reader: Reader) -> _Convolution:
    x, *others = reader.node.inputs
    bias = tuple(tensor for tensor in others[1:] if not tensor.is_empty())
    sizes = None if x.shape is None else list(x.shape)[2:]
    return _Convolution(reader.dtype, reader.shape[2:], sizes, dict(reader.node.attrs), bias)


def _convolve(emitter: Emitter, term: Term, x: gs.Tensor, conv: _Convolution) -> gs.Tensor:
    match term:
        case Product():
            return _convolve(emitter, term.first, _convolve(emitter, term.second, x, conv.bare()), conv.pointwise())
        case Separable():
            inner = _convolve(emitter, term.second, x, conv.bare().along(0))
            return _convolve(emitter, term.first, inner, conv.along(1))
        case Sum():
            first = _convolve(emitter, term.first, x, conv)
            return emitter.op("Add", [first, _convolve(emitter, term.second, x, conv.bare())])
        case Coded():
            found = _operator(term, conv, emitter.operands)
            if found is not None:
                return _convolve_coded(emitter, term, x, conv, found)
    return emitter.op("Conv", [x, _kernel(emitter, term, conv), *conv.bias], **conv.attributes)


def _operator(term: Term, conv: _Convolution, operands: Operands) -> tuple[str, Window] | None:
    """The operator of ours that convolves by a leaf, with its attributes; None where Conv has to."""
    if not isinstance(term, Coded) or len(conv.kernel) > 2:
        return None
    name = operands.target.convolution(term, math.prod(conv.kernel), operands.model.opset)
    attributes = window(conv.attributes, conv.kernel, conv.sizes)
    return None if name is None or attributes is None else (name, attributes)


def _convolve_coded(
    emitter: Emitter, leaf: Coded, x: gs.Tensor, conv: _Convolution, found: tuple[str, Window]
) -> gs.Tensor:
    name, attributes = found
    ordered = emitter.operands.by_taps(leaf, math.prod(conv.kernel))
    inputs = emitter.operands_of(ordered)
    inputs["x"] = emitter.cast(x, conv.dtype, _FLOAT32)
    inputs["bias"] = _bias(emitter, conv)
    if conv.other is not None:
        inputs["other"] = conv.other
    operator = name + conv.ending
    y = emitter.ours(operator, [inputs[key] for key in OPERATORS[operator].inputs], **attributes)
    return emitter.cast(y, _FLOAT32, conv.dtype)


def _bias(emitter: Emitter, conv: _Convolution) -> gs.Tensor:
    """The bias as float32."""
    if not conv.bias:
        return emitter.operands.shared(np.zeros(1, np.float32), "regc.no_bias")
    constant = constant_of(conv.bias[0])
    if constant is None:
        return emitter.cast(conv.bias[0], conv.dtype, _FLOAT32)
    return emitter.operands.shared(load_values(constant).astype(np.float32), f"{emitter.name}.bias")


def _kernel(emitter: Emitter, term: Term, conv: _Convolution) -> gs.Tensor:
    """A leaf as the kernel tensor ``[out, in, *kernel]``."""
    rows, columns = term.shape
    shape = (rows, columns // math.prod(conv.kernel), *conv.kernel)
    if isinstance(term, Dense):
        values = term.values.astype(conv.dtype).reshape(shape)
        return emitter.operands.dense(term, f"kernel{shape}", emitter.name, values)
    return emitter.cast(emitter.moved(emitter.decode(term), [Reshape(shape)]), _FLOAT32, conv.dtype)
