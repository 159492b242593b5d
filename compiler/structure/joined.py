"""Weights that are cut into parts and joined anew when a model is loaded.

Exporters write recurrent operators so, whose gates ONNX has in another order. They are constants, but of a form that is
not followed; here they become stored ones.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from regc.compiler.lower.shapes import redirect, sweep
from regc.compiler.model import Model
from regc.compiler.sites.chains import STANDARD, trace
from regc.compiler.structure.certain import evaluate

_PARTS = frozenset({"Slice", "Concat"})


def fold_joined(model: Model) -> None:
    """Store what Slices and Concats make of constants, in bodies, too."""
    for graph in (model.graph, *model.graph.subgraphs(recursive=True)):
        outputs = {id(tensor) for tensor in graph.outputs}
        for node in list(graph.nodes):
            if node.op in _PARTS and node.domain in STANDARD and id(node.outputs[0]) not in outputs:
                _fold(model, graph, node)


def _fold(model: Model, graph: gs.Graph, node: gs.Node) -> None:
    chains = [trace(tensor) for tensor in node.inputs]
    stored = [chain for chain in chains if chain is not None and chain.source.name not in model.overridable]
    values = [chain.values() for chain in stored] if len(stored) == len(chains) else []
    result = evaluate(node, values, model.opset) if values else None
    if result is None:
        return
    old = node.outputs[0]
    joined = model.add_constant(model.fresh_name(f"{old.name}.joined"), result)
    redirect(old, joined)
    sweep(graph, old)
