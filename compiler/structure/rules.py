"""What each operator does with an axis of units: where they are in its other inputs and its output."""

from __future__ import annotations

from collections.abc import Callable

import onnx_graphsurgeon as gs

from regc.compiler.model.protos import describe
from regc.compiler.sites.chains import trace
from regc.compiler.structure.beside import REDUCTIONS, gather, reduced, squeeze, unsqueeze
from regc.compiler.structure.convolutions import bias, conv
from regc.compiler.structure.cuts import concat, pad, slice_, split
from regc.compiler.structure.moves import expand, flatten, transpose
from regc.compiler.structure.ones import is_one
from regc.compiler.structure.recurrent import RECURRENT, recurrent
from regc.compiler.structure.reshapes import reshape
from regc.compiler.structure.walk import Lane, RefusedError, Walk

ELEMENTWISE = frozenset(
    {
        "Abs",
        "Add",
        "BiasGelu",
        "Cast",
        "Ceil",
        "Celu",
        "Clip",
        "Div",
        "Dropout",
        "Elu",
        "Erf",
        "Exp",
        "FastGelu",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Log",
        "Max",
        "Mean",
        "Min",
        "Mish",
        "Mul",
        "Neg",
        "PRelu",
        "Pow",
        "QuickGelu",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Sub",
        "Sum",
        "Swish",
        "Tanh",
        "ThresholdedRelu",
        "Where",
    }
)
_POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"})

Rule = Callable[[Walk, gs.Node, int | None, Lane], None]


def follow(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """The units lie in input ``index`` of a node, or in its output (None).

    Raises:
        RefusedError: they cannot be followed.
    """
    single = node.op in ELEMENTWISE or node.op == "Split"
    if index is None and len(node.outputs) > 1 and node.outputs[0].name not in walk.dims and not single:
        raise RefusedError(f"{describe(node)} has several outputs")
    rule = elementwise if node.op in ELEMENTWISE else _RULES.get(node.op)
    if rule is None or (node.domain or "") not in ("", "ai.onnx", "com.microsoft"):
        raise RefusedError(f"{describe(node)} uses them in a way that is not followed")
    rule(walk, node, index, lane)


def elementwise(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """The same in every input that is not spread over the axis."""
    walk.reach(node.outputs[0], lane)
    for place, tensor in enumerate(node.inputs):
        if tensor.is_empty():
            continue
        chain = trace(tensor)
        if chain is None:
            if not is_one(tensor, lane.axis, walk.dims):
                walk.reach(tensor, lane)
            continue
        shape = chain.layout.shape
        if len(shape) >= -lane.axis and shape[lane.axis] != 1:
            walk.place(walk.group.followers, node, place, len(shape) + lane.axis, lane)


def matmul(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Rows of a weight compute units, columns of one read them; as a batch of products they are independent."""
    weight = trace(node.inputs[1])
    if lane.axis <= -3 and weight is None and trace(node.inputs[0]) is None:
        elementwise(walk, node, index, lane)
    elif lane.axis != -1 or index == 1 or weight is None or len(weight.layout.shape) != 2:
        raise RefusedError(f"{describe(node)} multiplies them by what is computed at run time")
    elif index is None:
        walk.place(walk.group.producers, node, 1, 1, lane)
    else:
        walk.place(walk.group.consumers, node, 1, 0, lane)


def gemm(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """As MatMul, with a bias."""
    turned = int(node.attrs.get("transB", 0))
    if lane.axis != -1 or index not in (0, None) or (index == 0 and node.attrs.get("transA", 0)):
        raise RefusedError(f"{describe(node)} uses them in a way that is not followed")
    if index == 0:
        walk.place(walk.group.consumers, node, 1, turned, lane)
        return
    walk.place(walk.group.producers, node, 1, 1 - turned, lane)
    bias(walk, node, lane)


def batch_normalization(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Scales along the channels."""
    _channels(walk, node, lane)
    walk.reach(node.inputs[0], lane)
    walk.reach(node.outputs[0], lane)
    for parameter in range(1, 5):
        walk.place(walk.group.followers, node, parameter, 0, lane)


def pool(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Each channel on its own."""
    _channels(walk, node, lane)
    walk.reach(node.inputs[0], lane)
    walk.reach(node.outputs[0], lane)


def normalized(walk: Walk, node: gs.Node, index: int | None, lane: Lane) -> None:
    """Along other axes each unit is on its own."""
    shape = walk.shape(node.inputs[0])
    default = -1 if walk.opset >= 13 or node.op == "LayerNormalization" else 1
    axis = int(node.attrs.get("axis", default))
    if axis >= 0 and shape is not None:
        axis -= len(shape)
    several = node.op == "LayerNormalization" or walk.opset < 13
    if axis >= 0 or (lane.axis >= axis if several else lane.axis == axis):
        raise RefusedError(f"{describe(node)} normalizes over them, and fewer would change what it divides by")
    walk.reach(node.inputs[0], lane)
    walk.reach(node.outputs[0], lane)


def _channels(walk: Walk, node: gs.Node, lane: Lane) -> None:
    shape = walk.shape(node.inputs[0])
    if shape is None or lane.axis != 1 - len(shape):
        raise RefusedError(f"{describe(node)} has them elsewhere than in its channels, or its rank is not known")


_RULES: dict[str, Rule] = {
    "MatMul": matmul,
    "Gemm": gemm,
    "Conv": conv,
    "BatchNormalization": batch_normalization,
    **dict.fromkeys(_POOLS, pool),
    **dict.fromkeys(("Softmax", "LogSoftmax", "LayerNormalization"), normalized),
    "Transpose": transpose,
    "Reshape": reshape,
    "Slice": slice_,
    "Split": split,
    "Concat": concat,
    "Expand": expand,
    "Unsqueeze": unsqueeze,
    "Squeeze": squeeze,
    "Gather": gather,
    "Pad": pad,
    **dict.fromkeys(REDUCTIONS, reduced),
    "Flatten": flatten,
    **dict.fromkeys(RECURRENT, recurrent),
}
