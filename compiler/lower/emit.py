"""Writing nodes into a graph: what multiplies by a term, what decodes it, and what goes around both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx.helper
import onnx_graphsurgeon as gs

from regc.compiler.filters import Filtered
from regc.compiler.lower.operands import Operands
from regc.compiler.model import load_values
from regc.compiler.sites.layout import Move, Reshape, Transpose
from regc.compiler.terms import Dense, NBits, Operated, Product, Separable, Sum, Term
from regc.runtime_ops.ops import DOMAIN, OPERATORS

MICROSOFT = "com.microsoft"
"""ONNX Runtime's own domain."""
_FLOAT16, _FLOAT32 = np.dtype(np.float16), np.dtype(np.float32)


@dataclass(frozen=True)
class Epilogue:
    """What follows a product: ``bias``, float32 ``[N]`` or ``[1]``, and an ending of
    :mod:`regc.runtime_ops.endings`, of which ``Add`` adds ``other``.
    """

    bias: gs.Constant | None = None
    ending: str = ""
    other: gs.Tensor | None = None


NOTHING = Epilogue()


class Emitter:
    """Collects the nodes that stand in for something in one graph; :meth:`insert` puts them there.

    ``name`` is the weight's; the names of new nodes and tensors begin with it.
    """

    def __init__(self, operands: Operands, name: str) -> None:
        self.operands = operands
        self.name = name
        self.nodes: list[gs.Node] = []

    def op(self, op: str, inputs: Sequence[gs.Tensor], *, domain: str = "", **attributes: Any) -> gs.Variable:
        """Append a node of one output and return that."""
        return self.split(op, inputs, 1, domain=domain, **attributes)[0]

    def split(
        self, op: str, inputs: Sequence[gs.Tensor], outputs: int, *, domain: str = "", **attributes: Any
    ) -> list[gs.Variable]:
        """Append a node and return its outputs."""
        made = [gs.Variable(self.operands.model.fresh_name(f"{self.name}.{op}")) for _ in range(outputs)]
        node = gs.Node(op, name=made[0].name, attrs=attributes, inputs=list(inputs), outputs=made)
        node.domain = domain or None
        self.nodes.append(node)
        return made

    def constant(self, values: npt.NDArray[Any], hint: str) -> gs.Constant:
        """A small constant, shared by content."""
        return self.operands.shared(values, f"{self.name}.{hint}")

    def ours(self, op: str, inputs: Sequence[gs.Tensor], **attributes: Any) -> gs.Variable:
        """Append a node of domain ``ai.regc``."""
        self.operands.operators.add(op)
        return self.op(op, inputs, domain=DOMAIN, **attributes)

    def cast(self, tensor: gs.Tensor, source: np.dtype[Any], target: np.dtype[Any]) -> gs.Tensor:
        """Convert between float types; nothing when they are the same."""
        if source == target:
            return tensor
        return self.op("Cast", [tensor], to=int(onnx.helper.np_dtype_to_tensor_dtype(target)))

    def operands_of(self, term: Operated) -> dict[str, gs.Tensor]:
        """What an operator reads of a term, by input name."""
        return self.widened(self.operands.of(term, self.name))

    def widened(self, constants: Mapping[str, gs.Constant]) -> dict[str, gs.Tensor]:
        """Constants with scales as float32, which is what operators take: ONNX Runtime converts them at load."""
        halves = {key: value for key, value in constants.items() if value.dtype == _FLOAT16}
        return {**constants, **{key: self.cast(value, _FLOAT16, _FLOAT32) for key, value in halves.items()}}

    def moved(self, tensor: gs.Tensor, moves: Sequence[Move]) -> gs.Tensor:
        """Transpose and reshape a tensor."""
        for move in moves:
            if isinstance(move, Transpose):
                tensor = self.op("Transpose", [tensor], perm=list(move.perm))
            else:
                target = self.operands.shared(np.array(move.target, np.int64), "regc.target")
                tensor = self.op("Reshape", [tensor, target])
        return tensor

    def decode(self, term: Term) -> gs.Tensor:
        """The float32 matrix ``[N, K]`` of a term, by operators without inputs that change: folded at load."""
        match term:
            case Operated():
                inputs = self.operands_of(term)
                return self.ours(term.decoder, [inputs[key] for key in OPERATORS[term.decoder].inputs])
            case Product():
                return self.op("MatMul", [self.decode(term.first), self.decode(term.second)])
            case Separable():
                return self._decode_separable(term)
            case Sum():
                return self.op("Add", [self.decode(term.first), self.decode(term.second)])
            case Dense():
                values = self.operands.dense(term, "factor", self.name, term.values.astype(term.dtype))
                return self.cast(values, term.dtype, _FLOAT32)
        raise TypeError(f"no way to decode {type(term).__name__}")

    def _decode_separable(self, term: Separable) -> gs.Tensor:
        (rows, columns), width = term.shape, term.kernel[1]
        apart: list[Move] = [
            Reshape((rows, term.rank, width)),
            Transpose((0, 2, 1)),
            Reshape((rows * width, term.rank)),
        ]
        joined = self.op("MatMul", [self.moved(self.decode(term.first), apart), self.decode(term.second)])
        back: list[Move] = [Reshape((rows, width, columns // width)), Transpose((0, 2, 1)), Reshape((rows, columns))]
        return self.moved(joined, back)

    def multiply(self, term: Term, x: gs.Tensor, dtype: np.dtype[Any], then: Epilogue = NOTHING) -> gs.Tensor:
        """``x @ W.T`` and what follows, for ``x [..., K]`` of type ``dtype``, as is the result.

        An ending asks for a term that :meth:`Operands.ends_in_ours`, and for a type that our operators take.
        """
        match term:
            case Product():
                return self.multiply(term.first, self.multiply(term.second, x, dtype), dtype, then)
            case Sum():
                return self._multiply_sum(term, x, dtype, then)
            case Filtered():
                return self._multiply_filtered(term, x, dtype, then)
            case Operated():
                return self._multiply_operated(term, x, dtype, then)
            case Dense():
                weight = self.operands.dense(
                    term, "factor.T", self.name, np.ascontiguousarray(term.values.T.astype(dtype))
                )
                return self._biased(self.op("MatMul", [x, weight]), then.bias, dtype)
        raise TypeError(f"no way to multiply by {type(term).__name__}")

    def _multiply_sum(self, term: Sum, x: gs.Tensor, dtype: np.dtype[Any], then: Epilogue) -> gs.Tensor:
        if self.operands.takes(dtype) and self.operands.ends_in_ours(term.second):
            first = self.multiply(term.first, x, dtype)
            return self.multiply(term.second, x, dtype, Epilogue(then.bias, "Add", first))
        first = self.multiply(term.first, x, dtype, then)
        return self.op("Add", [first, self.multiply(term.second, x, dtype)])

    def _multiply_filtered(self, term: Filtered, x: gs.Tensor, dtype: np.dtype[Any], then: Epilogue) -> gs.Tensor:
        """By the operator that filters on its own, or with the filter in front of the product with the inner term."""
        if term.offset is not None:
            bias = term.offset if then.bias is None else term.offset + load_values(then.bias)
            then = replace(then, bias=self.constant(bias.astype(np.float32), "bias"))
        whole = self.cast(x, dtype, _FLOAT32)
        operand = term.operand
        operator = None if operand is None else self.operands.target.operator(operand, self.operands.model.opset)
        if operand is not None and operator is not None:
            kind = self._taken(dtype)
            ready = self.cast(term.prepare(self, whole), _FLOAT32, kind)
            return self.cast(self._multiply_by_ours(operator, operand, ready, kind, then), kind, dtype)
        return self.multiply(term.inner, self.cast(term.write(self, whole), _FLOAT32, dtype), dtype, then)

    def _biased(self, product: gs.Tensor, bias: gs.Constant | None, dtype: np.dtype[Any]) -> gs.Tensor:
        return product if bias is None else self.op("Add", [product, self.cast(bias, _FLOAT32, dtype)])

    def _multiply_operated(self, term: Operated, x: gs.Tensor, dtype: np.dtype[Any], then: Epilogue) -> gs.Tensor:
        """By an operator of ours, by MatMulNBits, or by the matrix decoded in front of a MatMul."""
        target = self.operands.target
        operator = target.operator(term, self.operands.model.opset)
        if operator is not None:
            return self._multiply_by_ours(operator, term, x, dtype, then)
        form = target.nbits(term)
        if form is not None:
            return self._biased(self._multiply_by_nbits(term, form, x, dtype), then.bias, dtype)
        weight = self.cast(self.moved(self.decode(term), [Transpose((1, 0))]), _FLOAT32, dtype)
        return self._biased(self.op("MatMul", [x, weight]), then.bias, dtype)

    def _multiply_by_nbits(self, term: Operated, form: NBits, x: gs.Tensor, dtype: np.dtype[Any]) -> gs.Tensor:
        codes, scales = self.operands.nbits(term, form, self.name)
        attributes = {"N": form.shape[0], "K": form.shape[1], "bits": form.bits, "block_size": form.block}
        inputs = [self.cast(x, dtype, _FLOAT32), codes, scales]
        # Below accuracy level 4, int8 activations, 2 and 8 bits are decoded by a reference path at every call.
        product = self.op("MatMulNBits", inputs, domain=MICROSOFT, accuracy_level=4, **attributes)
        return self.cast(product, _FLOAT32, dtype)

    def _multiply_by_ours(
        self, operator: str, term: Operated, x: gs.Tensor, dtype: np.dtype[Any], then: Epilogue
    ) -> gs.Tensor:
        inputs = self.operands_of(term)
        kind = self._taken(dtype)
        inputs["x"] = self.cast(x, dtype, kind)
        inputs["bias"] = then.bias or self.operands.shared(np.zeros(1, np.float32), "regc.no_bias")
        if then.other is not None:
            inputs["other"] = then.other
        ended = operator + then.ending
        sizes = self.operands.target.sizes(ended, term)
        product = self.ours(ended, [inputs[key] for key in OPERATORS[ended].inputs], **sizes)
        return self.cast(product, kind, dtype)

    def _taken(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The type in which our products take activations of a type."""
        return dtype if self.operands.takes(dtype) else _FLOAT32

    def insert(self, graph: gs.Graph, result: gs.Tensor, output: gs.Tensor, *, before: gs.Node | None = None) -> None:
        """Put the nodes into ``graph`` (at its start, or before a node) and let ``output`` be what computes ``result``.

        ``output`` must have no producer any more.
        """
        if not result.inputs:
            result = self.op("Identity", [result])
        result.inputs[0].outputs = [output]
        start = 0 if before is None else next(i for i, node in enumerate(graph.nodes) if node is before)
        graph.nodes[start:start] = self.nodes
