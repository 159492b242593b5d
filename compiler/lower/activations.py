"""Recognizing an activation by what it computes, in however many nodes it was written.

Exporters write GELU and SiLU as several nodes, in many ways. The nodes behind a tensor that depend on nothing else
are evaluated on sample points; where all of them end in one tensor, its values tell which function it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from regc.compiler.model import load_values
from regc.compiler.sites.chains import constant_of

Samples = npt.NDArray[np.float64]
MOST_NODES = 12
POINTS: Samples = np.concatenate([np.linspace(-12, 12, 193), [-1000.0, -60.0, 60.0, 1000.0]])
"""Where functions are compared. All that are built below are analytic: alike here, they are alike everywhere."""
TOLERANCE = 1e-6
"""Relative to max(1, |x|): more than constants rounded to float32 do, less than GELU's two forms differ by."""
HALF_TOLERANCE = 6e-5
"""The same where constants are rounded to float16, which changes GELU by up to 3e-5; its two forms differ by 2e-4."""


@dataclass(frozen=True)
class Activation:
    """The ending (see :mod:`regc.runtime_ops.endings`) that computes what ``nodes`` do; their result is ``output``."""

    ending: str
    nodes: tuple[gs.Node, ...]
    output: gs.Tensor


def tolerance_of(dtype: np.dtype[Any]) -> float:
    """How far an activation in a type may be from what it is taken for."""
    return TOLERANCE if dtype.itemsize > 2 else HALF_TOLERANCE


def activation_of(
    tensor: gs.Tensor, nodes_here: Callable[[gs.Node], bool], kept: set[int], tolerance: float = TOLERANCE
) -> Activation | None:
    """The activation that follows a tensor; None when it is not followed by one and by nothing else.

    ``nodes_here`` tells whether a node is in the tensor's graph, ``kept`` has the identities of graph outputs.
    """
    if id(tensor) in kept:
        return None
    if len(tensor.outputs) == 1 and _op(tensor.outputs[0]) == "Relu" and nodes_here(tensor.outputs[0]):
        return Activation("Relu", (tensor.outputs[0],), tensor.outputs[0].outputs[0])
    values: dict[int, Samples] = {id(tensor): POINTS}
    region, nodes = [tensor], list[gs.Node]()
    while len(nodes) < MOST_NODES:
        step = next(_computable(region, values, nodes, nodes_here), None)
        if step is None:
            return None
        node, result = step
        nodes.append(node)
        region.append(node.outputs[0])
        values[id(node.outputs[0])] = result
        if all(tensor is node.outputs[0] or _internal(tensor, nodes, kept) for tensor in region):
            ending = next((name for name, known in _KNOWN.items() if _close(result, known, tolerance)), None)
            if ending is not None:
                return Activation(ending, tuple(nodes), node.outputs[0])
    return None


def _internal(tensor: gs.Tensor, nodes: list[gs.Node], kept: set[int]) -> bool:
    taken = {id(node) for node in nodes}
    return id(tensor) not in kept and all(id(reader) in taken for reader in tensor.outputs)


def _computable(
    region: list[gs.Tensor], values: dict[int, Samples], nodes: list[gs.Node], nodes_here: Callable[[gs.Node], bool]
) -> Iterator[tuple[gs.Node, Samples]]:
    taken = {id(node) for node in nodes}
    for tensor in region:
        for node in tensor.outputs:
            if id(node) not in taken and nodes_here(node):
                result = _evaluate(node, values)
                if result is not None:
                    yield node, result


def _evaluate(node: gs.Node, values: dict[int, Samples]) -> Samples | None:
    """The values of a node on the sample points; None when it is not known or depends on anything else."""
    function = _FUNCTIONS.get(_op(node))
    if function is None or len(node.outputs) != 1:
        return None
    inputs = [values.get(id(tensor), _scalar(tensor)) for tensor in node.inputs]
    if any(value is None for value in inputs):
        return None
    with np.errstate(all="ignore"):
        return function(node.attrs, *inputs)


def _op(node: gs.Node) -> str:
    return node.op if node.domain in (None, "", "ai.onnx", "com.microsoft") else ""


def _scalar(tensor: gs.Tensor) -> Samples | None:
    """The value of a constant that does not change the shape of what it is combined with."""
    constant = constant_of(tensor)
    if constant is None or constant.shape not in ((), (1,), [], [1]):
        return None
    return load_values(constant).astype(np.float64).reshape(())


def _close(result: Samples, known: Samples, tolerance: float) -> bool:
    return bool((np.abs(result - known) <= tolerance * np.maximum(1, np.abs(POINTS))).all())


def _erf(x: Samples) -> Samples:
    return np.array([math.erf(value) for value in x])


def _sigmoid(x: Samples) -> Samples:
    return np.asarray(1 / (1 + np.exp(-x)))


def _gelu(x: Samples) -> Samples:
    return x / 2 * (1 + _erf(x / math.sqrt(2)))


def _gelu_tanh(x: Samples) -> Samples:
    return np.asarray(x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


_FUNCTIONS: dict[str, Callable[..., Samples]] = {
    "Identity": lambda attrs, x: x,
    "Add": lambda attrs, a, b: a + b,
    "Sub": lambda attrs, a, b: a - b,
    "Mul": lambda attrs, a, b: a * b,
    "Div": lambda attrs, a, b: a / b,
    "Pow": lambda attrs, a, b: a**b,
    "Neg": lambda attrs, x: -x,
    "Reciprocal": lambda attrs, x: 1 / x,
    "Exp": lambda attrs, x: np.exp(x),
    "Tanh": lambda attrs, x: np.tanh(x),
    "Sigmoid": lambda attrs, x: _sigmoid(x),
    "Erf": lambda attrs, x: _erf(x),
    "Gelu": lambda attrs, x: _gelu_tanh(x) if attrs.get("approximate", "none") == "tanh" else _gelu(x),
    "FastGelu": lambda attrs, x: _gelu_tanh(x),
    "Swish": lambda attrs, x: x * _sigmoid(attrs.get("alpha", 1.0) * x),
}
"""Functions of their attributes and inputs, all analytic."""

with np.errstate(over="ignore"):
    _KNOWN = {"Gelu": _gelu(POINTS), "GeluTanh": _gelu_tanh(POINTS), "Silu": POINTS * _sigmoid(POINTS)}
