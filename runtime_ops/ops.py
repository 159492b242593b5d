"""The operators of domain ``ai.regc``, version 1: names, inputs, documentation and bodies in standard ONNX operators.

The body *is* the definition of an operator. Written into a model as a model-local function of the same domain and
name, it lets any ONNX Runtime run the model without our library (the decoding is folded at load); with the library
registered the node stays and our kernel runs. A body is legal at the model's own opset, from ``since_opset`` up.

Products take x, and what is added, in float32, float16 or bfloat16 and give the same type; they compute in float32 and
round once. Models with activations of two bytes have bodies that cast (``TYPED``). Lookups of rows in other types than
float32 are operators of their own (``RF8GatherFloat16``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import onnx

from regc.runtime_ops import nbits
from regc.runtime_ops.body import SIZES
from regc.runtime_ops.endings import ENDINGS
from regc.runtime_ops.operator import DOMAIN, MIN_IR_VERSION, VERSION, Operator, ending_in
from regc.runtime_ops.operators import DECODERS, LOOKUPS, PRODUCTS
from regc.runtime_ops.typed import GIVEN, given_in, typed

__all__ = [
    "DOMAIN",
    "MATMULNBITS",
    "MIN_IR_VERSION",
    "ON_CUDA",
    "OPERATORS",
    "TYPED",
    "VERSION",
    "Operator",
    "functions",
    "loses",
    "wins",
]

_ENDING_IN = tuple(ending_in(base, ending) for base in PRODUCTS for ending in ENDINGS.values())
_GIVEN_IN = tuple(given_in(base, dtype) for base in LOOKUPS for dtype in GIVEN)

OPERATORS: dict[str, Operator] = {
    operator.name: operator for operator in (*PRODUCTS, *_ENDING_IN, *LOOKUPS, *_GIVEN_IN, *DECODERS)
}

ON_CUDA = frozenset(
    operator.name
    for operator in (*PRODUCTS, *_ENDING_IN, *LOOKUPS, *_GIVEN_IN)
    if not operator.name.startswith("TernaryConv")
)
"""The operators that the CUDA provider has, too."""

TYPED: dict[str, Operator] = {
    operator.name: typed(operator)
    for operator in (*PRODUCTS, *_ENDING_IN)
    if not operator.name.startswith("TernaryConv")
}
"""The products with bodies for activations of float16 and bfloat16 also: see :mod:`regc.runtime_ops.typed`."""


def _by_nbits(base: Operator) -> Iterable[Operator]:
    """An operator and its variants, with a body that calls MatMulNBits."""
    since = max(base.since_opset, nbits.SINCE_OPSET)
    base = replace(base, build=nbits.ternary_matmul, since_opset=since, attributes=SIZES, domain=nbits.DOMAIN)
    return (base, *(ending_in(base, ending) for ending in ENDINGS.values()))


MATMULNBITS: dict[str, Operator] = {operator.name: operator for operator in _by_nbits(OPERATORS["TernaryMatMul"])}
"""Operators with other bodies: see :mod:`regc.runtime_ops.nbits`."""


def functions(
    names: Iterable[str], opset: int, operators: Mapping[str, Operator] = OPERATORS
) -> list[onnx.FunctionProto]:
    """The model-local functions of the named operators and of those that they call, for a model of this opset.

    A function comes after the one that it calls. ``operators`` has them all.
    """
    named = {operators[name] for name in names}
    called = {operators[operator.base] for operator in named if operator.base is not None}
    ordered = sorted(named | called, key=lambda operator: (operator.base is not None, operator.name))
    return [operator.function(opset) for operator in ordered]


def loses(
    operator: str, shape: tuple[int, int], rows: int | None = None, share: float = 1.0, block: int = 1
) -> str | None:
    """Why an operator is no faster than what takes its place otherwise, in words; None where it wins.

    ``shape`` is ``(N, K)`` of the weight. ``rows`` are the rows of x in one product, None where they are not known:
    the operator then has to win for some number of them. ``share`` is the part of the weight that a row uses, of
    GatedMatMul the mean share of inputs that pass the gate, of BlockSparseMatMul the share of blocks that are kept, and
    ``block`` the inputs of a block.
    How that was measured is told in :mod:`regc.runtime_ops.regions`, which has the numbers.
    """
    found = OPERATORS[operator].region.loses(shape[1], rows, share, block)
    return None if found is None else f"{operator} {found}"


def wins(operator: str, shape: tuple[int, int], rows: int | None = None, share: float = 1.0) -> bool:
    """Whether an operator is faster than what takes its place otherwise; see :func:`loses`."""
    return loses(operator, shape, rows, share) is None
