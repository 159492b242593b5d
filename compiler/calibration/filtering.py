"""Filters of compressed weights in a model that runs on standard operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx_graphsurgeon as gs
from onnx import GraphProto, NodeProto, helper, numpy_helper

from regc.compiler.filters import Filtered
from regc.compiler.sites import Reader
from regc.compiler.terms import Float32


def straight(reader: Reader) -> bool:
    """Whether the reader's node gives ``x @ W.T`` for x as it is, to which something may be added."""
    attributes = reader.node.attrs
    plain = not attributes.get("transA", 0) and attributes.get("alpha", 1.0) == 1.0
    return reader.node.op in ("MatMul", "Gemm") and reader.role.index == 1 and plain


def output_of(reader: Reader) -> str:
    """The name of what the reader's node gives, by which :func:`put_filter` finds it."""
    node: gs.Node = reader.node
    return str(node.outputs[0].name)


def along_channels(offset: Float32, reader: Reader) -> Float32:
    """An offset ``[N]`` in the shape in which it is added to what the reader's node gives."""
    return offset.reshape(-1, *(1 for _ in reader.shape[2:])) if reader.node.op == "Conv" else offset


def put_filter(graph: GraphProto, output: str, term: Filtered) -> None:
    """Put the filter of a term in front of the product that gives ``output``, and its offset behind."""
    index = next(i for i, node in enumerate(graph.node) if output in node.output)
    product = graph.node[index]
    writer = _Protos(f"regc.filter.{output}", [])
    product.input[0] = term.write(writer, product.input[0])
    for place, node in enumerate(writer.nodes):
        graph.node.insert(index + place, node)
    if term.offset is not None:
        put_offset(graph, output, term.offset)


def put_offset(graph: GraphProto, output: str, offset: Float32) -> None:
    """Add to what the product that gives ``output`` gives."""
    index = next(i for i, node in enumerate(graph.node) if output in node.output)
    writer = _Protos(f"regc.offset.{output}", [])
    graph.node[index].output[0] = f"{writer.prefix}.product"
    added = writer.constant(offset, "offset")
    writer.nodes.append(helper.make_node("Add", [graph.node[index].output[0], added], [output]))
    for place, node in enumerate(writer.nodes, 1):
        graph.node.insert(index + place, node)


@dataclass
class _Protos:
    """Writes nodes as protos; see :class:`regc.compiler.filters.Writer`."""

    prefix: str
    nodes: list[NodeProto]

    def op(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        return self.split(op, inputs, 1, **attributes)[0]

    def split(self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        names = [f"{self.prefix}.{len(self.nodes)}.{place}" for place in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names

    def constant(self, values: npt.NDArray[Any], hint: str) -> str:
        return self.op("Constant", [], value=numpy_helper.from_array(values, hint))
