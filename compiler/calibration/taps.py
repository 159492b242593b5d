"""Which tensors flow into a weight, and how each reads as its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import onnx_graphsurgeon as gs

from regc.compiler.calibration.rows import Along, Patches, Rows
from regc.compiler.model.protos import describe
from regc.compiler.sites import Holder, Reader, Site
from regc.compiler.sites.chains import constant_of, trace


@dataclass(frozen=True)
class Tap:
    """A tensor as a node in ``graph`` reads it. ``name`` is what it is called in the model as it came, ``rows`` how it
    is multiplied.

    Two taps are equal when they see the same rows, so that statistics of one are those of the other.
    """

    graph: gs.Graph = field(compare=False)
    tensor: gs.Tensor = field(compare=False)
    rows: Rows
    name: str
    place: int

    @classmethod
    def of(cls, graph: gs.Graph, tensor: gs.Tensor, rows: Rows) -> Tap:
        """The tap of a tensor where nodes of ``graph`` read it."""
        return cls(graph, tensor, rows, tensor.name, id(graph))


@dataclass(frozen=True)
class Inflow:
    """The taps of all that is multiplied with a weight, and why some of what reads it has none, in words."""

    taps: frozenset[Tap]
    reasons: tuple[str, ...] = ()


def inflow(site: Site) -> Inflow:
    """What flows into a weight."""
    found = list(_taps(site))
    reasons = dict.fromkeys(answer for answer in found if isinstance(answer, str))
    return Inflow(frozenset(answer for answer in found if isinstance(answer, Tap)), tuple(reasons))


def _taps(site: Site) -> Iterator[Tap | str]:
    for holder in site.holders:
        for reader in holder.readers:
            source = _source(holder, reader)
            if isinstance(source, str):
                yield f"{describe(reader.node)} {source}"
            else:
                yield Tap.of(reader.graph, *source)


_Source = tuple[gs.Tensor, Rows]
_LAST = Along(-1)


def _source(holder: Holder, reader: Reader) -> _Source | str:
    """The tensor that is multiplied with the weight and how, or what keeps it from being seen."""
    node, index = reader.node, reader.role.index
    rule = _RULES.get(node.op)
    if rule is None:
        return _OTHERS.get(node.op, "multiplies it in a way of its own")
    chain = trace(node.inputs[index])
    if chain is None or chain.source is not holder.tensor:
        return "reads it cut or joined with other weights"
    if not reader.layout.same_as(holder.layout):
        return "reads it as another matrix"
    source = rule(reader, node, index)
    if not isinstance(source, str) and constant_of(source[0]) is not None:
        return "multiplies it with a constant"
    return source


def _matmul(reader: Reader, node: gs.Node, index: int) -> _Source | str:
    if len(reader.shape) > 2:
        return "multiplies several matrices, each with inputs of its own"
    if node.attrs.get("transBatchA", 0) or node.attrs.get("transBatchB", 0):
        return "multiplies it with its batch in another place"
    turned = bool(node.attrs.get("transA" if index == 1 else "transB", 0))
    across = turned == (index == 1)
    return node.inputs[1 - index], Along(-2) if across else _LAST


def _conv(reader: Reader, node: gs.Node, index: int) -> _Source:
    kernel = reader.shape[2:]
    ones = (1,) * len(kernel)
    given = {key: tuple(node.attrs[key]) for key in ("strides", "dilations", "pads") if key in node.attrs}
    patches = Patches(
        kernel,
        given.get("strides", ones),
        given.get("dilations", ones),
        given.get("pads", (0,) * 2 * len(kernel)),
        node.attrs.get("auto_pad", "NOTSET"),
        node.attrs.get("group", 1),
    )
    return node.inputs[0], patches


def _conv_transpose(reader: Reader, node: gs.Node, index: int) -> _Source | str:
    if node.attrs.get("group", 1) != 1:
        return "is a transposed convolution with groups"
    return node.inputs[0], Along(1)


def _recurrent(reader: Reader, node: gs.Node, index: int) -> _Source | str:
    return (node.inputs[0], _LAST) if index == 1 else "multiplies it with a state that never leaves the operator"


def _attention(reader: Reader, node: gs.Node, index: int) -> _Source:
    return node.inputs[0], _LAST


_RULES: dict[str, Callable[[Reader, gs.Node, int], _Source | str]] = {
    **dict.fromkeys(("MatMul", "Gemm", "FusedMatMul", "FusedGemm"), _matmul),
    **dict.fromkeys(("Conv", "FusedConv"), _conv),
    "ConvTranspose": _conv_transpose,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("Attention", "PackedAttention", "LongformerAttention"), _attention),
}
_OTHERS = {"Gather": "looks its rows up and multiplies nothing"}
