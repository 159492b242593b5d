"""When low rank is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from regc.compiler.errors import UsageError
from regc.compiler.passes import Pass, Preview, Refusal, SiteInfo, option
from regc.compiler.statistics import Need, Statistics
from regc.compiler.terms import Dense, Float32, Product
from regc.passes import no_gain
from regc.passes.low_rank.fit import rank_for_ratio, truncate

DEFAULT_RATIO = 2.0


@dataclass(frozen=True, kw_only=True)
class LowRank(Pass):
    """A weight as the product of two factors, by truncated SVD with the rank rule of PELA (arXiv 2310.10700).

    With calibration inputs the factors leave the least error of the outputs, without them of the weight.
    At most one of ``ratio``, ``rank`` and ``energy`` may be given; with none of them the ratio is 2.

    Raises:
        UsageError: an option is out of range, or two exclude each other.
    """

    name: ClassVar[str] = "low-rank"
    summary: ClassVar[str] = "two thin factors in place of one weight"
    structural: ClassVar[bool] = True

    ratio: float | None = option(
        None, "how many times fewer values; none: 2, unless rank or energy is given", "above 1"
    )
    rank: int | None = option(None, "inner size of the factors, in place of ratio", "1 and up")
    energy: float | None = option(
        None,
        "share of the squared singular values, or of the squared outputs, to keep in place of ratio",
        "between 0 and 1",
    )
    min_outputs: int = option(10, "leave weights of fewer outputs whole, as PELA does", "0 and up")
    stored: bool = option(False, "also where the node cannot be split in two: a smaller file, multiplied back at load")

    def __post_init__(self) -> None:
        given = [key for key in ("ratio", "rank", "energy") if getattr(self, key) is not None]
        if len(given) > 1:
            raise UsageError(f"low-rank: at most one of ratio, rank and energy, got {' and '.join(given)}")
        if self.ratio is not None and not 1 < self.ratio < np.inf:
            raise UsageError(f"low-rank: ratio must be above 1, got {self.ratio}")
        if self.rank is not None and self.rank < 1:
            raise UsageError(f"low-rank: rank must be 1 or more, got {self.rank}")
        if self.energy is not None and not 0 < self.energy < 1:
            raise UsageError(f"low-rank: energy must be between 0 and 1, got {self.energy}")
        if self.min_outputs < 0:
            raise UsageError(f"low-rank: min_outputs must be 0 or more, got {self.min_outputs}")

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:  # noqa: D102
        if not site.splittable and not self.stored:
            return Refusal(
                "its node cannot be split in two, so the factors would be multiplied back at load: "
                "a smaller file, no less work (stored=true allows it)"
            )
        if 0 < shape[0] < self.min_outputs:
            return Refusal(f"{shape[0]} outputs, fewer than min_outputs={self.min_outputs} (PELA's rule)")
        if self.energy is not None:
            reason = self._refuse(shape, 1, site.dtype.itemsize)
            return Refusal(reason) if reason else Preview(f"rank for {self.energy:.4g} of the energy", None)
        rank = self._rank(shape)
        reason = self._refuse(shape, rank, site.dtype.itemsize)
        size = rank * sum(shape) * site.dtype.itemsize
        return Refusal(reason) if reason else Preview(f"rank {rank} ({site.dtype} x {site.dtype})", size)

    def needs(self, shape: tuple[int, int], site: SiteInfo) -> frozenset[Need]:  # noqa: D102
        return frozenset() if isinstance(self.preview(shape, site), Refusal) else frozenset({"gram"})

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> Product | Refusal:  # noqa: D102
        gram = None if inputs is None else inputs.gram
        if self.energy is not None:
            first, second = truncate(weight.values, energy=self.energy, gram=gram)
            reason = self._refuse(weight.shape, first.shape[1], weight.dtype.itemsize)
            if reason:
                return Refusal(reason)
        else:
            first, second = truncate(weight.values, rank=self._rank(weight.shape), gram=gram)
        return Product(_stored(first, weight), _stored(second, weight))

    def _rank(self, shape: tuple[int, int]) -> int:
        return self.rank or rank_for_ratio(shape, self.ratio or DEFAULT_RATIO)

    @staticmethod
    def _refuse(shape: tuple[int, int], rank: int, itemsize: int) -> str | None:
        rows, columns = shape
        values = rank * (rows + columns)
        if all(shape) and rank < 1:
            return f"{rows}x{columns}: too small, the rank would be {rank}"
        if all(shape) and values >= rows * columns:
            return f"rank {rank} of {rows}x{columns} takes {values} values, the weight {rows * columns}"
        return no_gain(shape, itemsize, values * itemsize)


def _stored(values: Float32, like: Dense) -> Dense:
    """A factor in the type of the weight it came from, with the values that this type holds."""
    if like.dtype.itemsize < values.itemsize:
        values = values.astype(like.dtype).astype(np.float32)
    return Dense(values, like.dtype)
