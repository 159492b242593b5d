"""Where the operators of ours win: the compiler does not choose them elsewhere.

A region compares an operator with what takes its place in the model otherwise: ONNX Runtime's own operator with the
float32 weight, or, for RF8 weights of which only a part is used, RF8MatMul with the whole of them. The numbers were
measured on one thread of an Emerald Rapids (AVX-512 VNNI and FP16) with ``python -m benchmarks.kernels``, products
with weights of 2048x5632 that exceed the cache; each row of x uses a part of its own. They say nothing of a GPU, where
none has been measured: target cuda asks for no region.

Gates for a number of inputs (top-k) take as long as those by a threshold: of a row that uses 50 and 25 %, 1.78 and 3.6
times as fast as MatMul against 1.74 and 3.6, and with RF8 weights 7.6 and 14.1 against 7.4 and 14.3.
"""

import math
from dataclasses import dataclass

import numpy as np

ANY = 1 << 62
"""Rows of a product, as many as it may have."""
Uses = tuple[tuple[int, float], ...]
"""Pairs of rows and share; see :class:`Region`."""


@dataclass(frozen=True)
class Region:
    """The products in which an operator wins.

    ``least_inputs`` is the smallest K of a weight. ``uses`` are pairs by ascending rows: products of up to so many
    rows win when they use at most this share of the weight, which is never larger than for the fewest rows. Products of
    more rows than the last pair has never win. ``blocks`` has, by ascending size, what takes the place of ``uses`` for
    weights that are used in blocks of at least so many inputs.

    ``times`` are triples by ascending rows: the time of a product of so many rows over that of float32 MatMul is the
    second number plus the third times the share of the weight that it uses. Empty where that is not known.
    """

    least_inputs: int = 1
    uses: Uses = ((ANY, 1.0),)
    blocks: tuple[tuple[int, Uses], ...] = ()
    times: tuple[tuple[int, float, float], ...] = ()

    def loses(self, inputs: int, rows: int | None, share: float, block: int = 1) -> str | None:
        """Why a weight of K ``inputs`` loses, in words that follow the operator's name; None where it wins.

        ``rows`` are those of one product, None where they are not known: then the best number of them is enough.
        ``share`` is the part of the weight that each row uses, in blocks of ``block`` inputs.
        """
        if inputs < self.least_inputs:
            return f"is faster from {self.least_inputs} inputs on, the weight has {inputs}"
        product = "a product" if rows is None else f"a product of {rows} row" + "s" * (rows > 1)
        uses = next((uses for least, uses in reversed(self.blocks) if least <= block), self.uses)
        allowed = [most for limit, most in uses if rows is None or rows <= limit]
        if not allowed:
            return f"is faster up to {uses[-1][0]} rows, a product has {rows}"
        if share > allowed[0]:
            return f"is faster where {product} uses up to {allowed[0]:.0%} of the weight, it uses {share:.0%}"
        return None

    def speed(self, rows: int, share: float) -> float | None:
        """How many times as fast as float32 MatMul a product is, None where that is not known.

        Times between the rows that were measured lie on lines over the logarithm of rows; beyond the fewest and the
        most rows they are those of these. ``share`` is the part of the weight that each row uses.
        """
        if not self.times:
            return None
        measured = [math.log(count) for count, _, _ in self.times]
        times = [fixed + each * share for _, fixed, each in self.times]
        return 1 / float(np.interp(math.log(max(1, rows)), measured, times))


EVERYWHERE = Region()
TERNARY = Region(times=((1, 0.062, 0.0), (8, 0.13, 0.0), (32, 0.182, 0.0), (128, 0.238, 0.0)))
"""Over MatMul, with int8 activations, as in the README."""
CONVOLUTION = Region(least_inputs=64)
"""Over Conv: kernels of 3x3 are 1.6 to 3.4 times as fast, of 1x1 from 64 inputs on 1.2 to 2.8, below 0.93 to 1.5."""
SPARSE = Region(
    uses=((ANY, 0.8),),
    times=((1, 0.0, 1.12), (8, 0.01, 0.93), (32, 0.03, 0.78), (128, 0.08, 0.9)),
)
"""Over MatMul, of 90, 70 and 50 % in blocks of 16x1: 0.93, 1.19 and 1.69 times as fast for a row, 1.17, 1.49 and 2.05
for 8, 1.03, 1.32 and 2.5 for 32, 1.08, 1.39 and 2.2 for 128; blocks of 16x16 are a tenth faster. Times are lines
through those of 50, 30 and 10 %, means over 768x3072, 2048x5632, 4096x4096 and 4096x11008."""
SPARSE_RF8 = Region(
    uses=((1, 0.7), (ANY, 0.3)),
    blocks=((2, ((1, 0.7), (3, 0.3), (ANY, 0.5))), (4, ((1, 0.7), (3, 0.5), (ANY, 0.7)))),
)
"""Over RF8MatMul, of some percent in blocks of 16 by 1 (in float32), 2, 4 or 16 inputs (in float16, but for a
row and two):

    rows        1     2     4     8    32   128
    70 %, 1  1.10  0.73  0.43  0.58  0.64  0.68
    50 %, 1  1.53  1.01  0.63  0.70  0.99  0.98
    30 %, 1  2.30  1.68  1.22  1.36  1.53  1.45
    70 %, 2  1.16  0.79  0.89  0.82  1.35  1.18
    50 %, 2  1.47  1.00  1.05  1.19  1.80  1.74
    30 %, 2  2.53  1.77  1.96  2.20  2.93  2.89
    70 %, 4  1.20  0.87  1.00  1.12  1.29  1.34
    70 %, 16 1.25  0.84  1.09  1.07  1.52  1.40
    30 %, 16 2.77  2.00  2.21  2.49  2.96  2.99
"""
GATED = Region(
    uses=((1, 0.8), (2, 0.45), (4, 0.25)),
    times=((1, 0.0, 1.17), (2, 0.22, 1.45), (8, 0.96, 0.0), (32, 0.91, 0.0), (128, 1.04, 0.0)),
)
"""Over MatMul: 1.14 times as fast for a row that uses 75 %, 1.03 for two that use 50 %, 1.18 for four that use 25 %.
Times are lines through those of 75, 50 and 25 %; products of 8 rows and more gain nothing from what is skipped, and
are means over 768x3072, 2048x5632, 4096x4096 and 4096x11008."""
GATED_RF8 = Region(
    uses=((1, 0.8), (2, 0.6), (4, 0.3)),
    times=((1, 0.0, 0.297), (2, 0.05, 0.416), (8, 0.355, 0.0), (32, 0.42, 0.0), (128, 0.545, 0.0)),
)
"""Over RF8MatMul: 1.25 times as fast for a row that uses 75 %, 1.3 for two that use 50 % and for four that use 25 %."""
