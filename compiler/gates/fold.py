"""Putting a constant in the place of a gate, and taking out what it makes idle.

A factor of one goes, a factor of zero leaves zero, a sum with zero is its other term, and a choice that always falls on
one side is that side. What nothing reads any more goes, too: the branches behind closed gates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from regc.compiler.gates.find import covers
from regc.compiler.lower.shapes import dimensions, redirect, sweep
from regc.compiler.model import Model
from regc.compiler.sites.chains import trace
from regc.compiler.structure.certain import evaluate
from regc.compiler.structure.rules import ELEMENTWISE

Array = npt.NDArray[Any]


class Folding:
    """Replaces tensors of the main graph of a model by constants."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._dims = dimensions(model)
        self._outputs = {id(tensor) for tensor in model.graph.outputs}

    def fold(self, tensor: gs.Tensor, values: Array) -> int:
        """Let readers of a tensor read values that broadcast to it; how many nodes of the model that saves.

        Readers of which the output would no longer have its shape go on reading the tensor.
        """
        before = len(self._model.graph.nodes)
        self._replace(tensor, values)
        sweep(self._model.graph, tensor)
        return before - len(self._model.graph.nodes)

    def _replace(self, tensor: gs.Tensor, values: Array) -> None:
        constant = self._model.add_constant(self._model.fresh_name(f"{tensor.name}.settled"), values)
        for reader in list(tensor.outputs):
            if reader.op not in ELEMENTWISE or not self._inside(reader):
                continue
            others = [t for t in reader.inputs if t is not tensor and not t.is_empty()]
            if all(trace(other) is not None for other in others):
                self._computed(reader, tensor, values)
            elif any(covers(self._dims, other, reader.outputs[0]) for other in others):
                for index in [i for i, given in enumerate(reader.inputs) if given is tensor]:
                    reader.inputs[index] = constant
                self._simplify(reader, constant, values)

    def _computed(self, reader: gs.Node, tensor: gs.Tensor, values: Array) -> None:
        """All inputs are constants, and so is the output."""
        inputs = [values if t is tensor else _values(t) for t in reader.inputs]
        result = evaluate(reader, inputs, self._model.opset)
        if result is not None and id(reader.outputs[0]) not in self._outputs:
            self._replace(reader.outputs[0], result.astype(values.dtype))
            sweep(self._model.graph, reader.outputs[0])

    def _simplify(self, node: gs.Node, constant: gs.Constant, values: Array) -> None:
        """Take a node out that does nothing, or gives zero."""
        output = node.outputs[0]
        if node.op == "Where" and node.inputs[0] is constant and (values.all() or not values.any()):
            self._bypass(node, node.inputs[1 if values.all() else 2])
        elif node.op == "Mul" and not values.any() and id(output) not in self._outputs:
            self._replace(output, np.zeros((1,) * len(self._dims[output.name]), values.dtype))
            sweep(self._model.graph, output)
        elif (node.op == "Mul" and (values == 1).all()) or (node.op == "Add" and not values.any()):
            self._bypass(node, next(t for t in node.inputs if t is not constant))
        elif node.op == "Sub" and node.inputs[1] is constant and not values.any():
            self._bypass(node, node.inputs[0])

    def _bypass(self, node: gs.Node, source: gs.Tensor) -> None:
        """Let readers of a node's output read one of its inputs."""
        output = node.outputs[0]
        if not covers(self._dims, source, output):
            return
        if id(output) in self._outputs:
            node.op, node.attrs = "Identity", {}
            idle = [tensor for tensor in node.inputs if tensor is not source]
            node.inputs.clear()
            node.inputs.append(source)
            sweep(self._model.graph, *idle)
            return
        redirect(output, source)
        sweep(self._model.graph, output)

    def _inside(self, node: gs.Node) -> bool:
        return any(node is other for other in self._model.graph.nodes)


def _values(tensor: gs.Tensor) -> Array:
    if tensor.is_empty():
        return np.zeros(0, np.float32)
    chain = trace(tensor)
    assert chain is not None, "a constant"
    return chain.values()
