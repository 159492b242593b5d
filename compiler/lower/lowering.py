"""Terms to nodes: products of ours in place of an operator, or the weight decoded in front of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from regc.compiler.lower.activations import tolerance_of
from regc.compiler.lower.common import join_equal
from regc.compiler.lower.convolve import convolution_ends_in_ours, convolve, convolves
from regc.compiler.lower.emit import Emitter, Epilogue
from regc.compiler.lower.epilogue import Followers, Surroundings, bias_behind, followers
from regc.compiler.lower.gather import gather, only_gathered
from regc.compiler.lower.operands import Operands
from regc.compiler.model import Model, load_values
from regc.compiler.sites import Holder, Reader, Scopes, Site, readers_of, replaceable
from regc.compiler.sites.biases import add_offset
from regc.compiler.sites.chains import constant_of
from regc.compiler.sites.layout import Transpose
from regc.compiler.target import CPU, Target
from regc.compiler.terms import Float32, Sum, Term
from regc.runtime_ops.ops import OPERATORS

_FLOAT32 = np.dtype(np.float32)
_MULTIPLIES = frozenset({"Conv", "MatMul"})
_DECODERS = frozenset(name for name in OPERATORS if name.endswith("Decode"))


class Lowering:
    """Writes terms into a model, weight by weight; ``operands.operators`` names the operators of ours it used."""

    def __init__(self, model: Model, scopes: Scopes, target: Target = CPU) -> None:
        self.model = model
        self.scopes = scopes
        self.operands = Operands(model, target)
        # By identity, and held: the identity of a node that is gone may be that of another one.
        self._emitted: dict[int, gs.Node] = {}

    def lower(self, site: Site, term: Term, offset: Float32 | None = None) -> str:
        """Put a term in the place of a weight and say what was emitted.

        Every operator that products or lookups of rows can replace is replaced; where anything still reads the stored
        tensor, it is decoded. An ``offset`` ``[N]`` is added to the constant behind every product.
        """
        emitted: dict[str, None] = {}
        for reader in site.readers:
            old = None if offset is None else add_offset(reader, offset, self.model)
            if old is not None:
                self._sweep(old)
        by_rows = only_gathered(site)
        for holder in site.holders:
            for reader in holder.readers:
                found = self._look_up(holder, reader, site.info.name, term, by_rows=by_rows)
                emitted |= dict.fromkeys(found or self._replace(holder, reader, site.info.name, term))
            if holder.tensor.outputs:
                users = sorted({node.op for node in readers_of(holder.tensor)})
                self._decode(holder, site.info.name, term)
                emitted[f"decoded in front of {', '.join(users)}"] = None
        self.operands.end_of_weight()
        return "; ".join(emitted)

    def finish(self) -> None:
        """Compute once what several weights have in common. Call it when all are written."""
        kept = {id(tensor) for tensor in self.scopes.outputs()}
        for graph in self.scopes.graphs:
            join_equal(graph, self._emitted.keys(), kept)

    def _look_up(self, holder: Holder, reader: Reader, name: str, term: Term, *, by_rows: bool) -> list[str]:
        """Replace a Gather by nodes that give its rows, if that is possible, and name the one that looks up."""
        emitter = Emitter(self.operands, name)
        rows = gather(emitter, holder, reader, term, by_rows=by_rows)
        if rows is None:
            return []
        looking = [f"{node.domain}::{node.op}" if node.domain else node.op for node in emitter.nodes if _looks_up(node)]
        self._take_place(emitter, reader, Followers(reader.node.outputs[0]), rows)
        return looking

    def _replace(self, holder: Holder, reader: Reader, name: str, term: Term) -> list[str]:
        """Replace the reader's node by products with the term, if that is possible, and name their operators."""
        emit = _way(holder, reader, term, self.operands)
        if emit is None:
            return []
        emitter = Emitter(self.operands, name)
        found = self._followers(reader, term)
        result = emit(emitter, reader, term, found)
        self._take_place(emitter, reader, found, result)
        return list(filter(None, map(_product, emitter.nodes)))

    def _followers(self, reader: Reader, term: Term) -> Followers:
        """The nodes behind the reader's that the operator for the term does, too."""
        node, product = reader.node, reader.node.outputs[0]
        ours = self.operands.takes(reader.dtype) and self._ends_in_ours(reader, term)
        if not ours and not (isinstance(term, Sum) and node.op == "MatMul"):
            return Followers(product)
        rank = max(1, len(node.inputs[0].shape or ()))
        kept = {id(output) for output in self.scopes.outputs()}
        here = Surroundings(reader.graph, kept, term.shape[0], rank, tolerance_of(reader.dtype))
        if not ours:
            return bias_behind(product, here)
        return followers(product, here, biased=node.op == "Conv" or _gemm_bias(node) is not None)

    def _ends_in_ours(self, reader: Reader, term: Term) -> bool:
        """Whether an operator of ours is what computes the result of the reader's node."""
        if reader.node.op == "Conv":
            return convolution_ends_in_ours(reader, term, self.operands)
        return _gives_product(reader) and self.operands.ends_in_ours(term)

    def _take_place(self, emitter: Emitter, reader: Reader, found: Followers, result: gs.Tensor) -> None:
        """Put the emitted nodes where the last of those stands that they replace: all of their inputs are known there.

        That may be far behind the reader, as a residual connection may be computed in between.
        """
        nodes = [reader.node, *found.nodes]
        inputs = [tensor for node in nodes for tensor in node.inputs]
        nodes[-1].outputs.clear()
        emitter.insert(reader.graph, result, found.output, before=nodes[-1])
        self._emitted |= {id(node): node for node in emitter.nodes}
        for node in nodes:
            _remove(reader.graph, node)
        for tensor in inputs:
            self._sweep(tensor)

    def _sweep(self, tensor: gs.Tensor) -> None:
        """Remove the chain that computes a tensor which nothing reads any more."""
        kept = {id(output) for output in self.scopes.outputs()}
        left = [tensor]
        while left:
            tensor = left.pop()
            if tensor.inputs and not tensor.outputs and id(tensor) not in kept:
                node = tensor.inputs[0]
                left += node.inputs
                _remove(self.scopes.graph_of(node), node)

    def _decode(self, holder: Holder, name: str, term: Term) -> None:
        """Compute the stored tensor, in its own shape and type, from the term."""
        tensor, dtype = holder.tensor, np.dtype(holder.constant.dtype)
        moved = any(self.scopes.graph_of(node) is not holder.graph for node in (*tensor.inputs, *tensor.outputs))
        if isinstance(tensor, gs.Constant):
            tensor.to_variable(dtype=dtype, shape=list(holder.layout.base))
            tensor.type = "tensor_type"
        else:
            _remove(self.scopes.graph_of(tensor.inputs[0]), tensor.inputs[0])
        emitter = Emitter(self.operands, name)
        matrix = emitter.moved(emitter.decode(term), holder.layout.inverse())
        if moved:
            tensor.name = self.model.fresh_name(tensor.name)
        emitter.insert(holder.graph, emitter.cast(matrix, _FLOAT32, dtype), tensor)


def _product(node: gs.Node) -> str:
    """How an emitted node multiplies by a weight, in words; empty where it does something else."""
    if node.domain:
        return "" if node.op in _DECODERS else f"{node.domain}::{node.op}"
    if node.op not in _MULTIPLIES:
        return ""
    return node.op if isinstance(node.inputs[1], gs.Constant) else f"decoded in front of {node.op}"


_Emit = Callable[[Emitter, Reader, Term, Followers], gs.Tensor]


def _looks_up(node: gs.Node) -> bool:
    return "Gather" in node.op


def _remove(graph: gs.Graph, node: gs.Node) -> None:
    graph.nodes[:] = [other for other in graph.nodes if other is not node]
    node.inputs.clear()
    node.outputs.clear()


def _way(holder: Holder, reader: Reader, term: Term, operands: Operands) -> _Emit | None:
    """How the reader's node can be replaced by products with the term; None when only decoding is possible."""
    if replaceable(holder, reader) and operands.target.multiplies(term, operands.model.opset):
        return _gemm if reader.node.op == "Gemm" else _matmul
    same = reader.role.splittable and reader.layout.same_as(holder.layout)
    return _convolve if same and reader.node.op == "Conv" and convolves(reader, term, operands) else None


def _gives_product(reader: Reader) -> bool:
    """Whether the reader's node gives ``x @ W.T``, to which at most a bias is added, as it is."""
    node = reader.node
    if node.op == "Gemm":
        biased = len(node.inputs) > 2 and not node.inputs[2].is_empty()
        return bool(node.attrs.get("alpha", 1.0) == 1.0) and (not biased or _gemm_bias(node) is not None)
    return reader.role.index == 1


def _convolve(emitter: Emitter, reader: Reader, term: Term, found: Followers) -> gs.Tensor:
    return convolve(emitter, reader, term, found.ending, found.other)


def _epilogue(emitter: Emitter, found: Followers, outputs: int, bias: Float32 | None = None) -> Epilogue:
    """The epilogue that stands for the followers of a product, whose own bias may be given."""
    bias = found.bias if bias is None else bias
    if bias is None:
        return Epilogue(None, found.ending, found.other)
    whole = np.ascontiguousarray(np.broadcast_to(bias, (outputs,)))
    return Epilogue(emitter.operands.shared(whole, f"{emitter.name}.bias"), found.ending, found.other)


def _matmul(emitter: Emitter, reader: Reader, term: Term, found: Followers) -> gs.Tensor:
    x = reader.node.inputs[1 - reader.role.index]
    if reader.role.index == 1:
        return emitter.multiply(term, x, reader.dtype, _epilogue(emitter, found, term.shape[0]))
    rank = len(x.shape)
    return _swap(emitter, emitter.multiply(term, _swap(emitter, x, rank), reader.dtype), rank)


def _swap(emitter: Emitter, tensor: gs.Tensor, rank: int) -> gs.Tensor:
    """Exchange the last two axes: ``W @ x`` is the transpose of ``x.T @ W.T``."""
    if rank < 2:
        return tensor
    *batch, row, column = range(rank)
    return emitter.moved(tensor, [Transpose((*batch, column, row))])


def _gemm(emitter: Emitter, reader: Reader, term: Term, found: Followers) -> gs.Tensor:
    """``alpha * x @ W.T + beta * C``."""
    node = reader.node
    alpha, beta = node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)
    x = emitter.moved(node.inputs[0], [Transpose((1, 0))] if node.attrs.get("transA", 0) else [])
    added = node.inputs[2] if len(node.inputs) > 2 and not node.inputs[2].is_empty() and beta != 0 else None
    bias = _gemm_bias(node) if alpha == 1.0 else None
    then = _epilogue(emitter, found, term.shape[0], bias)
    y = _scaled(emitter, emitter.multiply(term, x, reader.dtype, then), alpha, reader.dtype)
    if added is None or bias is not None:
        return y
    return emitter.op("Add", [y, _scaled(emitter, added, beta, reader.dtype)])


def _scaled(emitter: Emitter, tensor: gs.Tensor, factor: float, dtype: np.dtype[Any]) -> gs.Tensor:
    if factor == 1.0:
        return tensor
    return emitter.op("Mul", [tensor, emitter.operands.shared(np.array(factor, dtype), "regc.factor")])


def _gemm_bias(node: gs.Node) -> Float32 | None:
    """``beta * C`` of a Gemm as float32 ``[N]`` or ``[1]`` when C is a constant that is the same for all rows."""
    beta = node.attrs.get("beta", 1.0)
    constant = constant_of(node.inputs[2]) if node.op == "Gemm" and len(node.inputs) > 2 and beta != 0 else None
    if constant is None or any(size != 1 for size in tuple(constant.shape)[:-1]):
        return None
    return load_values(constant).reshape(-1).astype(np.float32) * np.float32(beta)
