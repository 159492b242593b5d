"""What may follow the product of an operator: every multiplying operator has a variant for each row of one table.

A function body cannot branch on an attribute, so a variant is an operator of its own: ``TernaryMatMulGelu`` is
``TernaryMatMul`` and the ending ``Gelu``. Its body calls the base, a function too, and ends in standard nodes; so a
library that lacks the variant still runs the base.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from regc.runtime_ops.body import Body


@dataclass(frozen=True)
class Ending:
    """A suffix, what it does to the product ``y``, inputs that come after the base's, and how a body ends with it.

    ``build`` gets the name of the product and writes ``y``.
    """

    suffix: str
    doc: str
    build: Callable[[Body, str], None]
    inputs: tuple[str, ...] = ()


def _relu(b: Body, product: str) -> None:
    b.op("Relu", product, output="y")


def _gelu(b: Body, product: str) -> None:
    erf = b.op("Erf", b.op("Div", product, b.constant(np.sqrt(2), np.float32)))
    _half(b, product, erf)


def _gelu_tanh(b: Body, product: str) -> None:
    cube = b.op("Mul", product, b.op("Mul", product, product))
    inner = b.op("Add", product, b.op("Mul", cube, b.constant(0.044715, np.float32)))
    _half(b, product, b.op("Tanh", b.op("Mul", inner, b.constant(np.sqrt(2 / np.pi), np.float32))))


def _half(b: Body, product: str, odd: str) -> None:
    """``y = product * (1 + odd) / 2``."""
    weighted = b.op("Mul", product, b.op("Add", odd, b.constant(1, np.float32)))
    b.op("Mul", weighted, b.constant(0.5, np.float32), output="y")


def _silu(b: Body, product: str) -> None:
    b.op("Mul", product, b.op("Sigmoid", product), output="y")


def _add(b: Body, product: str) -> None:
    b.op("Add", product, "other", output="y")


ENDINGS: dict[str, Ending] = {
    ending.suffix: ending
    for ending in (
        Ending("Relu", "Then max(y, 0).", _relu),
        Ending("Gelu", "Then GELU, y * Phi(y).", _gelu),
        Ending("GeluTanh", "Then the approximation of GELU by tanh.", _gelu_tanh),
        Ending("Silu", "Then SiLU, y * sigmoid(y).", _silu),
        Ending("Add", "Then y + other, broadcast as by Add.", _add, ("other",)),
    )
}
