"""The gated term."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from regc.compiler.filters import Activity, Filtered, Writer
from regc.compiler.terms import Dense, NBits
from regc.passes.neuron_mask.thresholds import Gate
from regc.passes.rf8.term import RF8Term, Valued
from regc.runtime_ops.formats import gated

if TYPE_CHECKING:
    from regc.compiler.recovery.trainable import Trainable
    from regc.passes.neuron_mask.trainable import GatedWeights

Float32 = npt.NDArray[np.float32]
Limit = npt.NDArray[np.float32] | npt.NDArray[np.int64]
"""What inputs have to reach, float32 ``[1]``, or how many of them a row uses, int64 ``[1]``."""
T = TypeVar("T")


def operator(*, coded: bool, topk: bool) -> str:
    """The name of the operator that gates weights, RF8 ``coded`` or not, by top-k or by a threshold."""
    return f"Gated{'TopK' * topk}{'RF8' * coded}MatMul"


@dataclass(frozen=True, eq=False)
class Gated(Filtered):
    """A weight ``[N, K]`` of which each row of activations uses only the inputs that pass a gate.

    ``activity`` tells how many those are of calibration rows. ``forced`` is for products in which our operators gain
    nothing.
    """

    gate: Gate
    activity: Activity | None = None
    forced: bool = False

    def enter(self, rows: Float32) -> Float32:  # noqa: D102
        return self.gate.enter(rows)

    def prepare(self, writer: Writer[T], x: T) -> T:  # noqa: D102
        centre = self.gate.centre
        return x if centre is None else writer.op("Sub", [x, writer.constant(centre, "centre")])

    def write(self, writer: Writer[T], x: T) -> T:
        """An infinite or undefined activation is used, as by the operators."""
        x = self.prepare(writer, x)
        scores = writer.op("Mul", [writer.op("Abs", [x]), writer.constant(self.gate.norms, "norms")])
        if self.gate.keep is None:
            skipped = writer.op("Less", [scores, writer.constant(self._limit, "threshold")])
        else:
            skipped = self._beyond(writer, scores, self.gate.keep)
        used = writer.op("Not", [skipped])
        return writer.op("Mul", [x, writer.op("Cast", [used], to=int(TensorProto.FLOAT))])

    def _beyond(self, writer: Writer[T], scores: T, keep: int) -> T:
        """Which inputs are not among the ``keep`` largest of their row, as the body of GatedTopKMatMul tells."""
        infinity = writer.constant(np.array(np.inf, np.float32), "infinity")
        scores = writer.op("Where", [writer.op("IsNaN", [scores]), infinity, scores])
        largest = writer.split("TopK", [scores, writer.constant(np.array([keep]), "keep")], 2)
        at = writer.constant(np.array([keep - 1]), "last")
        least, last = (writer.op("Gather", [values, at], axis=-1) for values in largest)
        behind = writer.op("Greater", [writer.constant(np.arange(self.shape[1]), "places"), last])
        tied = writer.op("And", [behind, writer.op("Not", [writer.op("Greater", [scores, least])])])
        return writer.op("Or", [tied, writer.op("Less", [scores, least])])

    @cached_property
    def operand(self) -> GatedOperand | None:
        """None for what no operator gates: other codes."""
        if not isinstance(self.inner, Dense | RF8Term):
            return None
        return GatedOperand(self.inner, self.gate.norms, self._limit, self._share, self.forced)

    def trainable(self, inner: Trainable) -> GatedWeights:  # noqa: D102
        from regc.passes.neuron_mask.trainable import GatedWeights  # noqa: PLC0415 - PyTorch

        return GatedWeights(self, inner)

    @property
    def _limit(self) -> Limit:
        keep = self.gate.keep
        return np.array([self.gate.threshold], np.float32) if keep is None else np.array([keep], np.int64)

    @property
    def _share(self) -> float:
        return 1.0 if self.activity is None else self.activity.share

    @property
    def nbytes(self) -> int:  # noqa: D102
        added = sum(values.nbytes for values in (self.gate.centre, self.offset) if values is not None)
        return added + (self.inner.nbytes + self.gate.norms.nbytes if self.operand is None else self.operand.nbytes)

    @property
    def work(self) -> int:  # noqa: D102
        return round(self._share * self.inner.work)

    @property
    def label(self) -> str:  # noqa: D102
        return f"{1 - self._share:.0%} skipped{' by top-k' * (self.gate.keep is not None)} ({self.inner.label})"


@dataclass(frozen=True, eq=False)
class GatedOperand(Valued):
    """A weight ``[N, K]`` as our operators take it, of which a row uses the ``share`` of the inputs, on average."""

    norms: Float32
    limit: Limit
    share: float
    forced: bool = False

    @property
    def nbytes(self) -> int:  # noqa: D102
        return gated.packed_nbytes(self.shape, self.itemsize) + self.limit.nbytes + 2 * np.dtype(np.int64).itemsize

    @property
    def work(self) -> int:  # noqa: D102
        return round(self.share * self.shape[0] * self.shape[1])

    @property
    def label(self) -> str:  # noqa: D102
        return f"gated {self.values.label}"

    @property
    def matmuls(self) -> tuple[str, ...]:  # noqa: D102
        return (operator(coded=self.coded, topk=self._counted),)

    @property
    def decoder(self) -> str:
        """There is none: a gate is between an input and a weight.

        Raises:
            TypeError: always.
        """
        raise TypeError("a gated weight is multiplied by, never decoded")

    def nbits(self, blocks: object) -> NBits | str | None:
        """Nothing is like it. Top-k may be asked for all the same, as a reference in standard operators."""
        return None if self._counted else "no operator of ONNX Runtime skips inputs"

    def operands(self) -> dict[str, npt.NDArray[np.generic]]:  # noqa: D102
        return {
            "codes" if self.coded else "weights": gated.pack(self.matrix),
            "norms": self.norms,
            "active" if self._counted else "threshold": self.limit,
            "scale": self.scale,
            "shape": np.array(self.shape, np.int64),
        }

    @property
    def _counted(self) -> bool:
        return self.limit.dtype == np.int64
