"""The compressed model in training: its weights as trainable terms, its biases and norms as they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import onnx_graphsurgeon as gs
import torch
from torch import Tensor, nn

from regc.compiler.filters import Filtered
from regc.compiler.model import Model, load_values
from regc.compiler.recovery.network import Changes, Replaced
from regc.compiler.recovery.operators.call import Call
from regc.compiler.recovery.operators.windows import convolve
from regc.compiler.recovery.trainable import (
    DenseWeights,
    ProductWeights,
    SeparableWeights,
    SumWeights,
    Trainable,
    array,
)
from regc.compiler.sites import Holder, Reader, Site, gatherable, replaceable
from regc.compiler.sites.layout import Transpose
from regc.compiler.terms import Dense, Float32, Operated, Product, Separable, Sum, Term

Starts = Mapping[Term, Float32]
"""The weight that a coded term was made from."""
_TRAINED_INPUTS = {
    "Add": (0, 1), "Mul": (0, 1), "Sub": (0, 1), "Gemm": (2,), "Conv": (2,), "ConvTranspose": (2,), "PRelu": (1,),
    "LayerNormalization": (1, 2), "BatchNormalization": (1, 2), "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2), "RMSNormalization": (1,), "SimplifiedLayerNormalization": (1,),
}  # fmt: skip
"""Inputs that are biases or scales of channels."""


def trainable(term: Term, starts: Starts, known: dict[Term, Trainable | None] | None = None) -> Trainable | None:
    """A term in training; None when it, or a part of it, has no such form.

    What is ``known`` is not made again: a factor of several products trains as one.
    """
    known = {} if known is None else known
    if term not in known:
        known[term] = _made(term, starts, known)
    return known[term]


def _made(term: Term, starts: Starts, known: dict[Term, Trainable | None]) -> Trainable | None:
    match term:
        case Dense():
            return DenseWeights(term)
        case Product() | Separable() | Sum():
            first, second = trainable(term.first, starts, known), trainable(term.second, starts, known)
            return None if first is None or second is None else _pair(term, first, second)
        case Filtered():
            inner = trainable(term.inner, starts, known)
            return None if inner is None else term.trainable(inner)
        case Operated():
            return term.trainable(lambda part: starts[part] if part in starts else part.dense())
    return None


def _pair(term: Product | Separable | Sum, first: Trainable, second: Trainable) -> Trainable:
    if isinstance(term, Separable):
        return SeparableWeights(first, second, term.kernel)
    return ProductWeights(first, second, term.shares) if isinstance(term, Product) else SumWeights(first, second)


class Student(nn.Module):
    """``weights`` in training by the name of their site, and ``plain`` constants: biases and scales of channels, and
    the weights of ``dense`` sites.

    :attr:`changes` puts them into the original's graph.
    """

    def __init__(
        self, model: Model, training: Mapping[str, Trainable], sites: Mapping[str, Site], dense: Sequence[Site] = ()
    ) -> None:
        super().__init__()
        self.sites = dict(sites)
        self.names = list(training)
        self.weights = nn.ModuleList(training.values())
        self._constants = [*_small_constants(model), *(c for site in dense for c in stored_in(model, site))]
        self.plain = nn.ParameterList(torch.from_numpy(np.array(load_values(c))) for c in self._constants)
        constants: dict[int, Callable[[], Tensor]] = {}
        products: dict[int, Replaced] = {}
        for name, weights in training.items():
            for holder in sites[name].holders:
                constants[id(holder.tensor)] = _stored(holder, weights)
                products |= {id(r.node): p for r in holder.readers if (p := _product(holder, r, weights)) is not None}
        for constant, values in zip(self._constants, self.plain, strict=True):
            constants[id(constant)] = _itself(values)
        self.changes = Changes(constants, products)

    def trainables(self) -> list[Trainable]:
        """The terms in training, and their parts."""
        return [module for module in self.weights.modules() if isinstance(module, Trainable)]

    def loosen(self) -> bool:
        """Let move what the passes chose, such as which blocks are kept; whether there is anything of the kind."""
        loose = [weight.loosen() for weight in self.trainables()]
        return any(loose)

    def by_name(self) -> dict[str, Trainable]:
        """The weights in training, by the name of their site."""
        return dict(zip(self.names, self.weights, strict=True))  # type: ignore[arg-type]

    def originals(self) -> dict[str, Tensor]:
        """What these weights were, float32 ``[N, K]``."""
        return {name: torch.from_numpy(np.array(self.sites[name].load().values)) for name in self.names}

    def terms(self) -> dict[str, Term]:
        """The terms as they are now, by the name of their site."""
        return {name: weights.term() for name, weights in self.by_name().items()}

    def write_plain(self, model: Model) -> None:
        """Put the plain constants into the model."""
        for constant, values in zip(self._constants, self.plain, strict=True):
            constant._values = model.spill(array(values))


def frozen(terms: Mapping[str, Term], sites: Mapping[str, Site]) -> Changes:
    """The values of terms in the original's graph, without anything to train."""
    constants: dict[int, Callable[[], Tensor]] = {}
    for name, term in terms.items():
        matrix = DenseWeights(Dense(term.dense()))
        constants |= {id(holder.tensor): _stored(holder, matrix) for holder in sites[name].holders}
    return Changes(constants, {})


def _itself(values: Tensor) -> Callable[[], Tensor]:
    return lambda: values


def _stored(holder: Holder, weights: Trainable) -> Callable[[], Tensor]:
    """The stored tensor, in its own shape."""

    def value() -> Tensor:
        moved = weights.weight()
        for move in holder.layout.inverse():
            moved = moved.permute(move.perm) if isinstance(move, Transpose) else moved.reshape(move.target)
        return moved

    return value


def _product(holder: Holder, reader: Reader, weights: Trainable) -> Replaced | None:
    """What computes a reader's node by the term itself; None when the stored tensor has to be there."""
    node = reader.node
    same = reader.layout.same_as(holder.layout)
    if gatherable(holder, reader):
        return Replaced(0, lambda _, indices: weights.rows(torch.where(indices < 0, indices + _rows(holder), indices)))
    if node.op == "Conv" and same and reader.role.splittable:
        call = Call(dict(node.attrs))
        return Replaced(1, lambda x, _, *bias: _convolved(call, x, weights, reader, *bias))
    if not replaceable(holder, reader):
        return None
    if node.op == "Gemm":
        return Replaced(1, lambda x, _, *c: _gemm(node, x, weights, *c))
    if node.op == "MatMul" and reader.role.index == 1:
        return Replaced(1, lambda x, _: weights.multiply(x))
    return None


def _rows(holder: Holder) -> int:
    return holder.layout.shape[0]


def _convolved(call: Call, x: Tensor, weights: Trainable, reader: Reader, bias: Tensor | None = None) -> Tensor:
    return convolve(call, weights.images(x), weights.weight().reshape(reader.shape), bias)


def _gemm(node: gs.Node, x: Tensor, weights: Trainable, c: Tensor | None = None) -> Tensor:
    y = weights.multiply(x.t() if node.attrs.get("transA", 0) else x)
    y = y if node.attrs.get("alpha", 1.0) == 1.0 else y * node.attrs["alpha"]
    return y if c is None else y + node.attrs.get("beta", 1.0) * c


def _small_constants(model: Model) -> list[gs.Constant]:
    """Initializers, float32, that every node reads as a bias or a scale of channels."""
    kept = {id(tensor) for tensor in model.graph.outputs}
    found = {id(t): t for node in model.graph.nodes for t in node.inputs if isinstance(t, gs.Constant)}
    return [
        t
        for t in found.values()
        if t.dtype == np.float32 and 1 < math.prod(t.shape) == max(t.shape, default=0)
        if id(t) not in kept and t.name not in model.overridable and all(_trains(node, t) for node in t.outputs)
    ]


def stored_in(model: Model, site: Site) -> list[gs.Constant]:
    """Where a weight lies as float32 that nobody may replace at run time, in constants that recovery can write."""
    tensors = [holder.tensor for holder in site.holders]
    return [
        t for t in tensors if isinstance(t, gs.Constant) and t.dtype == np.float32 and t.name not in model.overridable
    ]


def _trains(node: gs.Node, tensor: gs.Tensor) -> bool:
    places = [index for index, other in enumerate(node.inputs) if other is tensor]
    return not node.domain and all(index in _TRAINED_INPUTS.get(node.op, ()) for index in places)


def parameter_groups(student: nn.Module, rate: float) -> Iterator[dict[str, object]]:
    """Each parameter with its own learning rate: ``rate`` of its root mean square."""
    for parameter in student.parameters():
        size = float(parameter.detach().square().mean().sqrt())
        yield {"params": [parameter], "lr": rate * max(size, 1e-3)}
