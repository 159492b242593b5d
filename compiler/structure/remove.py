"""Taking units out of a model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from regc.compiler.errors import UsageError
from regc.compiler.lower.shapes import sweep
from regc.compiler.model import Model
from regc.compiler.sites.chains import trace
from regc.compiler.structure.group import Array, Group, Number, Place
from regc.compiler.structure.recurrent import RECURRENT
from regc.compiler.structure.windows import axes_of, shrink

Left = dict[tuple[int, int, int], npt.NDArray[np.intp]]
"""Of a node, an input and an axis: which of the elements that were there when sets of units were found are left."""


def remove(
    model: Model,
    group: Group,
    keep: npt.NDArray[np.intp],
    consumers: Mapping[Place, Array] | None = None,
    left: Left | None = None,
) -> None:
    """Leave the units with the numbers ``keep``, ascending, and cut the others out of all that touches them.

    ``consumers`` has new values of consuming weights, as their nodes read them, before the cut. ``left`` is what sets
    that were found together with this one have left of the axes that they share with it, and is kept up to date.

    Raises:
        UsageError: the group cannot be cut, or no unit would stay.
    """
    if group.refusal is not None or not len(keep):
        raise UsageError(f"{group.name}: {group.refusal or 'a layer keeps at least one unit'}")
    for place, values in (consumers or {}).items():
        put(model, place, values)
    gone = np.setdiff1d(np.arange(group.units), keep)
    left = {} if left is None else left
    if group.kernel:
        _cut_window(model, group, keep)
    for place in group.places if not group.kernel else ():
        key = (id(place.node), place.index, place.axis)
        values = place.values()
        there = left.get(key, np.arange(values.shape[place.axis]))
        stay = ~np.isin(there, place.elements(gone, group.units))
        left[key] = there[stay]
        put(model, place, np.compress(stay, values, axis=place.axis))
    for place in group.targets:
        sizes = place.values().copy()
        sizes[place.axis] -= len(gone) * place.inner
        put(model, place, sizes)
    for number in group.numbers:
        _lower(number, len(gone))
    _forget_shapes(model)


def _cut_window(model: Model, group: Group, keep: npt.NDArray[np.intp]) -> None:
    """Leave a window of a kernel."""
    (place,), axes = group.consumers, axes_of(keep, group.kernel)
    values = place.values()
    put(model, place, np.ascontiguousarray(values[np.ix_(*map(np.arange, values.shape[:2]), *axes)]))
    graph = next(graph for graph in _graphs(model) if any(place.node is other for other in graph.nodes))
    shrink(model, graph, place.node, axes, group)


def _lower(number: Number, gone: int) -> None:
    """Take what belongs to so many units off a number in an attribute."""
    node, name, position, inner = number
    if position is None:
        node.attrs[name] -= gone * inner
    else:
        old = list(node.attrs[name])
        node.attrs[name] = [*old[:position], old[position] - gone * inner, *old[position + 1 :]]


def _forget_shapes(model: Model) -> None:
    """Inner tensors are of other shapes now."""
    graphs = _graphs(model)
    interface = {id(tensor) for graph in graphs for tensor in (*graph.inputs, *graph.outputs)}
    for graph in graphs:
        for tensor in graph.tensors().values():
            if isinstance(tensor, gs.Variable) and id(tensor) not in interface:
                tensor.shape = None


def add_to_bias(model: Model, node: gs.Node, added: npt.NDArray[np.float32]) -> None:
    """Add ``[N]`` to the outputs of a MatMul, Gemm or Conv, or to what the gates of a recurrent operator have of its
    input: in the bias that it has, or in a new one.
    """
    if node.op in RECURRENT:
        _add_to_gates(model, node, added)
        return
    if node.op in ("Gemm", "Conv") and len(node.inputs) > 2 and not node.inputs[2].is_empty():
        place = Place(node, 2, 0)
        scale = node.attrs.get("beta", 1.0) if node.op == "Gemm" else 1.0
        bias = place.values()
        put(model, place, (bias + added.astype(np.float64) / (scale or 1.0)).astype(bias.dtype))
        return
    dtype = Place(node, 1, 0).values().dtype
    if node.op in ("Gemm", "Conv"):
        while len(node.inputs) > 2:
            node.inputs.pop()
        node.attrs.pop("beta", None)
        node.inputs.append(model.add_constant(model.fresh_name(f"{node.name}.bias"), added.astype(dtype)))
        return
    output = node.outputs[0]
    graph = next(graph for graph in _graphs(model) if any(node is other for other in graph.nodes))
    given = any(output is other for other in graph.outputs)
    adder = output.outputs[0] if len(output.outputs) == 1 and not given else None
    index = _bias_index(adder, output, len(added)) if adder is not None else None
    if adder is not None and index is not None:
        place = Place(adder, index, 0)
        put(model, place, (place.values() + added).astype(dtype))
        return
    plain = gs.Variable(model.fresh_name(f"{output.name}.plain"), output.dtype)
    bias = model.add_constant(model.fresh_name(f"{output.name}.bias"), added.astype(dtype))
    node.outputs[0] = plain
    at = next(i for i, other in enumerate(graph.nodes) if other is node)
    graph.nodes.insert(at + 1, gs.Node("Add", f"{node.name}.bias", {}, [plain, bias], [output]))


def _add_to_gates(model: Model, node: gs.Node, added: npt.NDArray[np.float32]) -> None:
    """Into the first half of the bias ``[directions, 2 * gates * units]``: what is added to the products with W."""
    weight = Place(node, 1, 2).values()
    shape = (len(weight), weight.shape[1])
    while len(node.inputs) < 4:
        node.inputs.append(gs.Variable.empty())
    old = np.zeros((len(weight), 2 * weight.shape[1]), weight.dtype)
    if not node.inputs[3].is_empty():
        old = Place(node, 3, 1).values().copy()
    old[:, : weight.shape[1]] += added.reshape(shape).astype(weight.dtype)
    name = model.fresh_name(f"{node.name}.bias")
    node.inputs[3] = model.add_constant(name, old)


def _bias_index(adder: gs.Node, output: gs.Tensor, size: int) -> int | None:
    """Which input of an Add is a constant with an element for each output; None without one."""
    if adder.op != "Add" or len(adder.inputs) != 2:
        return None
    index = 1 if adder.inputs[0] is output else 0
    chain = trace(adder.inputs[index])
    return index if chain is not None and chain.layout.shape == (size,) else None


def put(model: Model, place: Place, values: Array) -> None:
    """Give a node a constant of its own; the name stays where nothing else reads the old one."""
    old = place.node.inputs[place.index]
    alone = isinstance(old, gs.Constant) and len(old.outputs) == 1 and old not in model.graph.outputs
    name = old.name if alone else model.fresh_name(f"{old.name}.kept")
    place.node.inputs[place.index] = model.add_constant(name, values)
    for graph in _graphs(model):
        sweep(graph, old)


def _graphs(model: Model) -> list[gs.Graph]:
    """The main graph and all bodies."""
    return [model.graph, *model.graph.subgraphs(recursive=True)]
