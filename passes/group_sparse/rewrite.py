"""When group sparsity is used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from regc.compiler.errors import UsageError
from regc.compiler.passes import Pass, Preview, Refusal, SiteInfo, Surveyed, option
from regc.compiler.statistics import Need, Statistics
from regc.compiler.terms import Dense
from regc.passes import bad_choice, no_gain
from regc.passes.group_sparse import eliminate, proximal
from regc.passes.group_sparse.envelope import largest
from regc.passes.group_sparse.plan import WHOLE, curve, levels
from regc.passes.group_sparse.term import BlockSparse, label, packed_nbytes
from regc.runtime_ops.formats.block_sparse import BLOCKS, TILE

_BLOCKS = re.compile(rf"blocks\({TILE}x(\d+)\)")
_CHOICES = " | ".join(f"blocks({TILE}x{block})" for block in BLOCKS)
_FLOOR = 0.4
"""Blocks that are never priced, as a share of those that stay on average: a tile keeps at least so many."""


@dataclass(frozen=True, kw_only=True)
class GroupSparse(Pass):
    """Blocks of weights that matter least to the outputs are left out, in the file and in the multiplication.

    With calibration inputs the kept weights make up for those that are gone, and ``sparsity`` is for all weights
    together, by what these matter to the model; some stay whole. How many blocks a tile of 16 outputs keeps follows
    from one price for the whole weight (WGSEF's level k).

    Raises:
        UsageError: an option is out of range.
    """

    name: ClassVar[str] = "group-sparse"
    summary: ClassVar[str] = "only some blocks of a weight, the others are neither stored nor multiplied"
    structural: ClassVar[bool] = True

    groups: str = option(f"blocks({TILE}x1)", "what is kept or left out as one: outputs by inputs", _CHOICES)
    sparsity: float = option(0.5, "share of the blocks that are left out", "above 0, below 1")
    method: Literal["eliminate", "prox", "energy"] | None = option(
        None,
        "which blocks go: the cheapest, a few at a time, while the others make up for them (eliminate), those that "
        "proximal steps on WGSEF's envelope set to zero (prox), or those of least squares times input second moments "
        "(energy); none: eliminate where inputs are known, and 2048 at most, else energy",
    )

    scope: Literal["model", "weight"] = option(
        "model",
        "what the sparsity is of: all weights together, when calibration inputs show what they matter, or each weight",
    )

    def __post_init__(self) -> None:
        if problem := bad_choice(self):
            raise UsageError(problem)
        if not 0 < self.sparsity < 1:
            raise UsageError(f"group-sparse: sparsity must be above 0 and below 1, got {self.sparsity}")
        if self.groups == "weights":
            raise UsageError(
                "group-sparse: no kernel is faster for single weights, and their places take the bytes that they save; "
                f"the finest groups are blocks({TILE}x1)"
            )
        found = _BLOCKS.fullmatch(self.groups)
        if found is None or int(found[1]) not in BLOCKS:
            raise UsageError(f"group-sparse: groups must be one of {_CHOICES}, got {self.groups}")

    @property
    def shares(self) -> bool:  # noqa: D102
        return self.scope == "model"

    def plan(self, surveyed: Iterator[Surveyed]) -> Mapping[str, Pass | Refusal]:  # noqa: D102
        found = {survey.site.name: curve(survey, self.sparsity, self._block) for survey in surveyed}
        curves = {name: points for name, points in found.items() if points is not None}
        alike: dict[str, Pass | Refusal] = {name: replace(self, scope="weight") for name in found}
        return alike | {name: self._share(level) for name, level in levels(curves, self.sparsity).items()}

    def _share(self, level: int) -> Pass | Refusal:
        if level == WHOLE:
            return Refusal(f"kept whole: for {100 * self.sparsity:.3g}% of all blocks, others lose less by it")
        return replace(self, scope="weight", sparsity=level / 100)

    @property
    def _block(self) -> int:
        return int(self.groups.removesuffix(")").rpartition("x")[2])

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:  # noqa: D102
        if not site.multiplied:
            return Refusal("no product of ours can take the place of its node, so nothing would be skipped")
        if site.dtype != np.float32:
            return Refusal(f"kept blocks are float32, the weight is {site.dtype}; use rf8 or ternary")
        size = packed_nbytes(shape, self._block, self._kept(shape), np.dtype(np.float32).itemsize)
        reason = no_gain(shape, site.dtype.itemsize, size)
        return Refusal(reason) if reason else Preview(f"{label(self.sparsity, self._block)} (float32)", size)

    def needs(self, shape: tuple[int, int], site: SiteInfo) -> frozenset[Need]:  # noqa: D102
        return frozenset() if isinstance(self.preview(shape, site), Refusal) else frozenset({"gram"})

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> BlockSparse | Refusal:  # noqa: D102
        gram = None if inputs is None or inputs.gram is None else eliminate.damped(inputs.gram)
        if gram is None and self.method in ("eliminate", "prox"):
            return Refusal(
                f"method={self.method} needs calibration inputs, and what flows into this weight is not known; "
                "leave the method out for the best that can be done"
            )
        values, block, kept = weight.values, self._block, self._kept(weight.shape)
        if gram is None:
            prices = eliminate.energies(values, None if inputs is None else inputs.second_moment, block)
        elif self.method == "prox":
            prices = proximal.prices(values, gram, block, kept)
        elif self.method == "energy" or (self.method is None and weight.shape[1] > eliminate.MOST_INPUTS):
            prices = eliminate.energies(values, np.diagonal(gram), block)
        else:
            prices = eliminate.eliminate(values, gram, block, _FLOOR * (1 - self.sparsity))
        keep = largest(prices.reshape(-1), kept).reshape(prices.shape)
        if gram is not None:
            values = eliminate.refit(values, keep, gram, block)
        else:
            values = values * np.repeat(np.repeat(keep, TILE, 0), block, 1)[: values.shape[0], : values.shape[1]]
        return BlockSparse(Dense(values, weight.dtype), keep, block)

    def _kept(self, shape: tuple[int, int]) -> int:
        tiles, columns = -(-shape[0] // TILE), -(-shape[1] // self._block)
        return max(1, round((1 - self.sparsity) * tiles * columns))
