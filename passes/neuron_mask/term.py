"""The gated term."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from regc.compiler.filters import Activity, Filtered, Writer
from regc.compiler.terms import Dense, NBits, Operated
from regc.passes.neuron_mask.thresholds import Gate
from regc.passes.rf8.term import RF8Term
from regc.runtime_ops.formats import gated, rf8

if TYPE_CHECKING:
    from regc.compiler.recovery.trainable import Trainable
    from regc.passes.neuron_mask.trainable import GatedWeights

Float32 = npt.NDArray[np.float32]
T = TypeVar("T")


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
        keep = self.gate.keep
        if keep is None:
            least = writer.constant(self._threshold, "threshold")
        else:
            largest = writer.op("TopK", [scores, writer.constant(np.array([keep]), "keep")], outputs=2)
            least = writer.op("Gather", [largest, writer.constant(np.array([keep - 1]), "last")], axis=-1)
        used = writer.op("Not", [writer.op("Less", [scores, least])])
        return writer.op("Mul", [x, writer.op("Cast", [used], to=int(TensorProto.FLOAT))])

    @cached_property
    def operand(self) -> GatedOperand | None:
        """None for what no operator gates: other codes, and thresholds that each row has to find."""
        if self.gate.keep is not None or not isinstance(self.inner, Dense | RF8Term):
            return None
        return GatedOperand(self.inner, self.gate.norms, self._threshold, self._share, self.forced)

    def trainable(self, inner: Trainable) -> GatedWeights:  # noqa: D102
        from regc.passes.neuron_mask.trainable import GatedWeights  # noqa: PLC0415 - PyTorch

        return GatedWeights(self, inner)

    @property
    def _threshold(self) -> Float32:
        return np.array([self.gate.threshold], np.float32)

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
class GatedOperand(Operated):
    """A weight ``[N, K]`` as our operators take it, of which a row uses the ``share`` of the inputs, on average."""

    values: Dense | RF8Term
    norms: Float32
    threshold: Float32
    share: float
    forced: bool = False

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.values.shape

    def dense(self) -> Float32:  # noqa: D102
        return self.values.dense()

    @property
    def nbytes(self) -> int:  # noqa: D102
        size = 1 if isinstance(self.values, RF8Term) else np.dtype(np.float32).itemsize
        return gated.packed_nbytes(self.shape, size) + 2 * np.dtype(np.int64).itemsize

    @property
    def work(self) -> int:  # noqa: D102
        return round(self.share * self.shape[0] * self.shape[1])

    @property
    def label(self) -> str:  # noqa: D102
        return f"gated {self.values.label}"

    @property
    def matmuls(self) -> tuple[str, ...]:  # noqa: D102
        return ("GatedRF8MatMul" if isinstance(self.values, RF8Term) else "GatedMatMul",)

    @property
    def decoder(self) -> str:
        """There is none: a gate is between an input and a weight.

        Raises:
            TypeError: always.
        """
        raise TypeError("a gated weight is multiplied by, never decoded")

    def nbits(self, blocks: object) -> NBits | str | None:  # noqa: D102
        return "no operator of ONNX Runtime skips inputs"

    def operands(self) -> dict[str, npt.NDArray[np.generic]]:  # noqa: D102
        coded = isinstance(self.values, RF8Term)
        return {
            "codes" if coded else "weights": gated.pack(self._matrix()),
            "norms": self.norms,
            "threshold": self.threshold,
            "scale": self.values.scale if isinstance(self.values, RF8Term) else np.ones(self.shape[0], np.float32),
            "shape": np.array(self.shape, np.int64),
        }

    def _matrix(self) -> npt.NDArray[np.generic]:
        """The values to be packed, float32 or codes ``[N, K]``."""
        if isinstance(self.values, RF8Term):
            return rf8.unpack_codes(self.values.codes, self.shape)
        return self.values.values
