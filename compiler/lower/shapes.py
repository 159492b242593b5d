"""Shapes that exporters compute at run time, although they are the same for every input.

A Reshape that splits a dimension into heads gets its target from Shape, Gather, Unsqueeze and Concat nodes, in every
layer again. Where shape inference proves that each dimension is a number, or the same as the input has at that place,
the target is a constant: the number, or 0. What computed it goes when nothing else reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

from regc.compiler.model import Model
from regc.compiler.model.protos import subgraphs
from regc.compiler.sites.chains import STANDARD, constant_of
from regc.runtime_ops.ops import DOMAIN, OPERATORS

LARGEST = 1 << 10
"""Bytes of the largest tensors whose values shape inference gets to see."""
Dims = tuple[int | str, ...]


def fold_shapes(model: Model) -> int:
    """Make the targets of Reshapes in the main graph constant where they are; the number of nodes that this saves.

    Tensors that are proven to have the same shape share the Shape node of the first: what is computed from it in
    every layer is then the same for all of them, which the runtime sees by itself.
    """
    before, made, dims = len(model.graph.nodes), dict[Dims, gs.Constant](), None
    # A target that is known may be what makes others known.
    while nodes := [node for node in model.graph.nodes if _computes_target(node)]:
        dims = dimensions(model)
        found = [(node, target) for node in nodes if (target := _target(node, dims)) is not None]
        if not found:
            break
        dims, computed = None, [node.inputs[1] for node, _ in found]
        for node, target in found:
            if target not in made:
                made[target] = model.add_constant(model.fresh_name("regc.target"), np.array(target, np.int64))
            node.inputs[1] = made[target]
        sweep(model.graph, *computed)
    _share_shapes(model, dims)
    return before - len(model.graph.nodes)


def _share_shapes(model: Model, dims: dict[str, Dims] | None) -> None:
    """``dims``: those of the model as it is, where they are known already."""
    shapes = [node for node in model.graph.nodes if node.op == "Shape" and node.domain in STANDARD and not node.attrs]
    if len(shapes) < 2:
        return
    dims = dims or dimensions(model)
    first: dict[Dims, gs.Tensor] = {}
    kept, unread = _outputs(model.graph), list[gs.Tensor]()
    for node in shapes:
        known, output = dims.get(node.inputs[0].name), node.outputs[0]
        shared = output if known is None else first.setdefault(known, output)
        if shared is output or id(output) in kept:
            continue
        redirect(output, shared)
        unread.append(output)
    sweep(model.graph, *unread)


def _computes_target(node: gs.Node) -> bool:
    standard = node.op == "Reshape" and node.domain in STANDARD
    return standard and len(node.inputs) == 2 and not node.attrs.get("allowzero", 0) and not _known(node.inputs[1])


def _known(tensor: gs.Tensor) -> bool:
    return constant_of(tensor) is not None


def _target(node: gs.Node, dims: dict[str, Dims]) -> Dims | None:
    """The constant that means the same as the target of a Reshape; None when there is no such proof.

    One dimension may be inferred from the others, by -1, but only where the exporter says so, too: it fails for
    tensors without elements.
    """
    source, result = dims.get(node.inputs[0].name), dims.get(node.outputs[0].name)
    if source is None or result is None:
        return None
    inferred = _inferred_places(node.inputs[1])
    target: list[int] = []
    for place, size in enumerate(result):
        if isinstance(size, int) and size > 0:
            target.append(size)
        elif place < len(source) and size == source[place] and isinstance(size, str):
            target.append(0)
        elif place in inferred:
            target.append(-1)
        else:
            return None
    return tuple(target)


def _inferred_places(target: gs.Tensor) -> set[int]:
    """Where a target that is joined from single numbers has the constant -1."""
    node = target.inputs[0] if target.inputs else None
    if node is None or node.op != "Concat":
        return set()
    constants = [constant_of(part) for part in node.inputs]
    sizes = [constant.values.size if constant is not None else 1 for constant in constants]
    single = all(size == 1 for size in sizes)
    return {i for i, c in enumerate(constants) if c is not None and c.values.reshape(-1)[0] == -1} if single else set()


def dimensions(model: Model, *, bodies: bool = False) -> dict[str, Dims]:
    """What shape inference proves of the tensors of the main graph, and of those in bodies whose names no other body
    has; equal names are equal sizes.

    Names that the model gives to dimensions are not believed: those of its inputs are replaced, others left out.
    """
    proto = model.export(lambda values: values.nbytes > LARGEST).proto
    stand_in = _with_standard_products(proto)
    for info in stand_in.graph.input:
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                dim.dim_param = f"{info.name}.{axis}"
    del stand_in.graph.value_info[:]
    for info in stand_in.graph.output:
        info.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(stand_in, data_prop=True).graph
    except onnx.shape_inference.InferenceError:
        return {}
    known = dict(_sizes([*inferred.value_info, *inferred.input, *inferred.output]))
    return dict(_inside(inferred)) | known if bodies else known


def _inside(graph: GraphProto) -> Iterable[tuple[str, Dims]]:
    """What was found in all bodies, without tensors that several of them have."""
    infos = [info for body in _bodies(graph) for info in (*body.value_info, *body.input, *body.output)]
    times = Counter(info.name for info in infos)
    return _sizes(info for info in infos if times[info.name] == 1)


def _bodies(graph: GraphProto) -> Iterator[GraphProto]:
    for node in graph.node:
        for attribute in node.attribute:
            for body in subgraphs(attribute):
                yield body
                yield from _bodies(body)


def _sizes(infos: Iterable[ValueInfoProto]) -> Iterable[tuple[str, Dims]]:
    for info in infos:
        tensor = info.type.tensor_type
        if info.type.HasField("tensor_type") and tensor.HasField("shape"):
            sizes = (getattr(dim, dim.WhichOneof("value") or "dim_param") for dim in tensor.shape.dim)
            yield info.name, tuple(size if size != "" else f"{info.name}.{axis}" for axis, size in enumerate(sizes))


def _with_standard_products(proto: ModelProto) -> ModelProto:
    """The model with a MatMul, and an Add, in the place of each operator of ours that multiplies by a constant."""
    sizes = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer if _small(tensor)}
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    for node in nodes:
        named = dict(zip(OPERATORS[node.op_type].inputs, node.input, strict=False)) if node.domain == DOMAIN else {}
        shape = sizes.get(named.get("shape", ""))
        if shape is None or "x" not in named:
            proto.graph.node.append(node)
            continue
        outputs, inputs = (int(size) for size in shape[:2])
        weight, product = f"{node.output[0]}.weight", f"{node.output[0]}.product"
        proto.graph.initializer.add(name=weight, dims=[inputs, outputs], data_type=TensorProto.FLOAT)
        proto.graph.node.add(op_type="MatMul", input=[named["x"], weight], output=[product])
        other = named.get("other", f"{weight}.none")
        proto.graph.initializer.add(name=f"{weight}.none", dims=[], data_type=TensorProto.FLOAT)
        proto.graph.node.add(op_type="Add", input=[product, other], output=node.output)
    return proto


def _small(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.INT64 and 2 <= sum(tensor.dims) <= 3 and bool(tensor.raw_data)


def _outputs(graph: gs.Graph) -> set[int]:
    """The identities of the outputs of a graph and of all bodies in it."""
    return {id(output) for body in (graph, *graph.subgraphs(recursive=True)) for output in body.outputs}


def redirect(old: gs.Tensor, new: gs.Tensor) -> None:
    """Let the nodes that read a tensor, in bodies, too, read another in its place. Outputs of graphs stay."""
    for reader in list(old.outputs):
        for index in [i for i, tensor in enumerate(reader.inputs) if tensor is old]:
            reader.inputs[index] = new


def sweep(graph: gs.Graph, *tensors: gs.Tensor) -> None:
    """Remove the nodes of a graph that compute tensors which nothing reads any more."""
    kept, there = _outputs(graph), {id(node) for node in graph.nodes}
    left, idle = list(tensors), set[int]()
    while left:
        tensor = left.pop()
        node = tensor.inputs[0] if tensor.inputs else None
        if node is None or id(node) not in there:
            continue
        if any(output.outputs or id(output) in kept for output in node.outputs):
            continue
        left += node.inputs
        idle.add(id(node))
        node.inputs.clear()
        node.outputs.clear()
    if idle:
        graph.nodes[:] = [node for node in graph.nodes if id(node) not in idle]
