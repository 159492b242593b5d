"""An ONNX graph as a differentiable function of its inputs and of some of its constants, in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import onnx_graphsurgeon as gs
import torch
from torch import Tensor

from regc.compiler.model import load_values
from regc.compiler.model.protos import describe
from regc.compiler.recovery.activations import activations
from regc.compiler.recovery.attention import attentions
from regc.compiler.recovery.joined import Joined
from regc.compiler.recovery.operators import OPERATORS, Call, Operator, UnsupportedError
from regc.compiler.recovery.operators.shaping import from_numpy

Values = dict[int, Tensor]
"""What tensors of a graph hold at the moment, by their identity."""


def operator_of(node: gs.Node) -> Operator | None:
    """What computes a node; None when it is not known."""
    domain = node.domain or ""
    return OPERATORS.get(f"{domain}::{node.op}" if domain not in ("", "ai.onnx") else node.op)


@dataclass(frozen=True)
class Replaced:
    """What computes a node instead, from its inputs; the weight, input ``weight``, is not read and comes as None."""

    weight: int
    compute: Callable[..., Tensor]


@dataclass(frozen=True)
class Changes:
    """What a student has in place of the original, by identity: values of stored tensors, and whole nodes."""

    constants: Mapping[int, Callable[[], Tensor]] = field(default_factory=dict)
    products: Mapping[int, Replaced] = field(default_factory=dict)

    def reads(self, node: gs.Node) -> Iterator[gs.Tensor]:
        """What a node reads, without the weight that is replaced."""
        replaced = self.products.get(id(node))
        if replaced is None:
            yield from reads(node)
        else:
            yield from (tensor for index, tensor in enumerate(node.inputs) if index != replaced.weight)


class NodeError(RuntimeError):
    """A node that cannot be run; ``node`` is its identity."""

    def __init__(self, node: gs.Node, words: object) -> None:
        super().__init__(f"{describe(node)}: {words}")
        self.node = id(node)


UNCHANGED = Changes()


class Network:
    """The nodes of the main graph that ``wanted`` tensors need; :meth:`run` computes them.

    ``opset`` is the version of the standard domain. What depends on constants alone, none of which ``changes``
    replaces, is computed once.

    Raises:
        NodeError: a node of these cannot be run.
    """

    def __init__(self, graph: gs.Graph, opset: int, wanted: Sequence[gs.Tensor], changes: Changes = UNCHANGED) -> None:
        self.opset, self.changes = opset, changes
        self.wanted = list(wanted)
        self._calls: dict[int, Call] = {}
        self._constants: Values = {}
        self._joined: dict[int, Joined] = {}
        self.inputs = {tensor.name: id(tensor) for tensor in graph.inputs}
        needed = _needed(graph, self.wanted, changes)
        fixed = set(_fixed(needed, {*changes.constants, *changes.products}))
        with torch.no_grad():
            self._run_nodes([node for node in needed if id(node) in fixed], self._constants, {})
        left = [node for node in needed if id(node) not in fixed]
        self._joined = {id(joined.last): joined for joined in self._joinable(left)}
        gone = {id(node) for joined in self._joined.values() for node in joined.others}
        self.nodes = [node for node in left if id(node) not in gone]
        self._expires = _last_uses(self.nodes, self.wanted, self._joined)

    def _joinable(self, nodes: Sequence[gs.Node]) -> Iterator[Joined]:
        """What runs as one function; a product that is replaced stays itself."""
        kept = {id(tensor) for tensor in self.wanted}
        yield from activations(nodes, kept)
        plain = [node for node in nodes if id(node) not in self.changes.products]
        yield from attentions(plain, kept, self.opset)

    def run(self, feeds: Mapping[str, Tensor]) -> list[Tensor]:
        """The wanted tensors for one feed."""
        values: Values = {self.inputs[name]: tensor for name, tensor in feeds.items() if name in self.inputs}
        self._run_nodes(self.nodes, values, self._expires)
        return [self._value(tensor, values) for tensor in self.wanted]

    def _run_nodes(self, nodes: Iterable[gs.Node], values: Values, expires: Mapping[int, Sequence[int]]) -> None:
        for node in nodes:
            for output, result in zip(node.outputs, self.outputs_of(node, values), strict=False):
                values[id(output)] = result
            for done in expires.get(id(node), ()):
                values.pop(done, None)

    def outputs_of(self, node: gs.Node, values: Values) -> Sequence[Tensor]:
        """The outputs of a node whose inputs ``values`` has.

        Raises:
            NodeError: the operator is not known, not in this way, or PyTorch does not take the inputs.
        """
        if id(node) in self._joined:
            joined = self._joined[id(node)]
            return (joined.compute(*(self._value(source, values) for source in joined.sources)),)
        replaced, operator = self.changes.products.get(id(node)), operator_of(node)
        if operator is None:
            raise NodeError(node, "no such operator is known")
        left_out = replaced.weight if replaced is not None else -1
        inputs = [
            None if tensor.is_empty() or index == left_out else self._value(tensor, values)
            for index, tensor in enumerate(node.inputs)
        ]
        try:
            call = replaced.compute if replaced is not None else partial(operator, self._call(node, values))
            result = call(*inputs)
        except (UnsupportedError, RuntimeError, TypeError, ValueError, KeyError, IndexError) as error:
            raise NodeError(node, error) from error
        return result if isinstance(result, tuple) else (result,)

    def _value(self, tensor: gs.Tensor, values: Values) -> Tensor:
        key = id(tensor)
        if key in values:
            return values[key]
        changed = self.changes.constants.get(key)
        if changed is not None:
            values[key] = changed()
            return values[key]
        if key not in self._constants:
            if not isinstance(tensor, gs.Constant):
                raise RuntimeError(f"{tensor.name} was not computed")
            self._constants[key] = from_numpy(load_values(tensor))
        return self._constants[key]

    def _call(self, node: gs.Node, values: Values) -> Call:
        bodies = {key: body for key, body in node.attrs.items() if isinstance(body, gs.Graph)}
        if not bodies and id(node) in self._calls:
            return self._calls[id(node)]
        count = sum(not output.is_empty() for output in node.outputs)
        runs = {key: self._body(body, values) for key, body in bodies.items()}
        attributes = {
            key: load_values(value) if isinstance(value, gs.Constant) else value for key, value in node.attrs.items()
        }
        self._calls[id(node)] = Call(attributes, self.opset, count, runs)
        return self._calls[id(node)]

    def _body(self, body: gs.Graph, outer: Values) -> Callable[[Sequence[Tensor]], list[Tensor]]:
        """A subgraph, which sees what is outside of it."""

        def run(inputs: Sequence[Tensor]) -> list[Tensor]:
            values = dict(outer)
            values.update((id(tensor), value) for tensor, value in zip(body.inputs, inputs, strict=True))
            self._run_nodes(body.nodes, values, {})
            return [self._value(tensor, values) for tensor in body.outputs]

        return run


def reads(node: gs.Node) -> Iterator[gs.Tensor]:
    """All tensors that a node or its subgraphs read, those of the subgraphs themselves included."""
    yield from node.inputs
    for body in node.subgraphs():
        yield from body.outputs
        for inner in body.nodes:
            yield from reads(inner)


def unsupported(node: gs.Node) -> str | None:
    """The first operator of a node or its subgraphs that is not known, None when all are."""
    if operator_of(node) is None:
        return f"{node.domain}::{node.op}" if node.domain else str(node.op)
    found = (unsupported(inner) for body in node.subgraphs() for inner in body.nodes)
    return next((name for name in found if name is not None), None)


def _needed(graph: gs.Graph, wanted: Sequence[gs.Tensor], changes: Changes) -> list[gs.Node]:
    """The nodes that tensors depend on; those of a graph are in an order in which they can run."""
    need = {id(tensor) for tensor in wanted}
    nodes = []
    for node in reversed(graph.nodes):
        if any(id(output) in need for output in node.outputs):
            nodes.append(node)
            need.update(id(tensor) for tensor in changes.reads(node))
    return nodes[::-1]


def _fixed(nodes: Sequence[gs.Node], changed: set[int]) -> Iterator[int]:
    """The nodes that nothing changes: they depend on constants alone."""
    known: set[int] = set()
    for node in nodes:
        inner = {id(output) for body in node.subgraphs() for n in body.nodes for output in n.outputs}
        sources = [tensor for tensor in reads(node) if not tensor.is_empty() and id(tensor) not in inner]
        plain = not any(True for _ in node.subgraphs()) and id(node) not in changed
        settled = (isinstance(tensor, gs.Constant) or id(tensor) in known for tensor in sources)
        if plain and all(settled) and changed.isdisjoint(map(id, (*sources, *node.outputs))):
            known.update(map(id, node.outputs))
            yield id(node)


def _last_uses(
    nodes: Sequence[gs.Node], wanted: Sequence[gs.Tensor], joined: Mapping[int, Joined]
) -> dict[int, list[int]]:
    """What each node is the last to read, so that its memory can go."""
    kept = {id(tensor) for tensor in wanted}
    last: dict[int, int] = {}
    for node in nodes:
        sources = joined[id(node)].sources if id(node) in joined else reads(node)
        last.update((id(tensor), id(node)) for tensor in sources)
    found: dict[int, list[int]] = {}
    for tensor, node in last.items():
        if tensor not in kept:
            found.setdefault(node, []).append(tensor)
    return found


def feeds_of(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """A feed as tensors."""
    return {name: from_numpy(array) for name, array in arrays.items()}
