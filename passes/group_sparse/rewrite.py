"""When group sparsity is used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from regc.compiler.errors import UsageError
from regc.compiler.passes import Kept, Pass, Preview, Refusal, SiteInfo, Surveyed, Units, option
from regc.compiler.statistics import Need, Statistics
from regc.compiler.structure.windows import KIND as POSITIONS
from regc.compiler.terms import Dense
from regc.passes import bad_choice, no_gain
from regc.passes.budget import Point
from regc.passes.group_sparse import eliminate, proximal
from regc.passes.group_sparse.eliminate import Float32, Float64, blocks_of
from regc.passes.group_sparse.envelope import largest
from regc.passes.group_sparse.plan import WHOLE, curve, levels
from regc.passes.group_sparse.positions import nonzero, smaller
from regc.passes.group_sparse.scores import scores
from regc.passes.group_sparse.structured import Measure, Method, Removal, shared
from regc.passes.group_sparse.term import BlockSparse, Sparse, label, packed_nbytes, sparse_nbytes
from regc.passes.neuron_mask.exact import exact
from regc.passes.units import KINDS, unasked
from regc.runtime_ops.formats.block_sparse import BLOCKS, TILE

_BLOCKS = re.compile(rf"blocks\({TILE}x(\d+)\)")
_KERNEL = "kernel"
_WEIGHTS = "weights"
_UNITS = (*KINDS, _KERNEL)
_CHOICES = " | ".join([*(f"blocks({TILE}x{block})" for block in BLOCKS), *_UNITS, _WEIGHTS])
_FLOOR = 0.4
"""Blocks that are never priced, as a share of those that stay on average: a tile keeps at least so many."""
_FOUND = 0.01
"""Zero blocks that are there count as what was asked for when they are fewer by so small a share at most."""


@dataclass(frozen=True, kw_only=True)
class GroupSparse(Pass):
    """Groups of weights that matter least to the outputs are left out, in the file and in the multiplication.

    Groups are blocks of a weight, for which our operators multiply only what is kept, or whole neurons, filters,
    channels and heads, which are removed from the graph; see :mod:`regc.passes.group_sparse.structured`.

    With calibration inputs the kept weights make up for those that are gone, and ``sparsity`` is for all weights
    together, by what these matter to the model; some stay whole. How many blocks a tile of 16 outputs keeps follows
    from one price for the whole weight (WGSEF's level k). Where as many blocks are zero already as are asked for,
    those alone are left out and nothing is lost.

    Raises:
        UsageError: an option is out of range.
    """

    name: ClassVar[str] = "group-sparse"
    summary: ClassVar[str] = "only some blocks of a weight are stored and multiplied, or some neurons, filters or heads"
    structural: ClassVar[bool] = True
    windows: ClassVar[bool] = True

    groups: str = option(
        f"blocks({TILE}x1)",
        "what is kept or left out as one: blocks of outputs by inputs, units of the graph, positions of convolution "
        "kernels (kernel), of which a window stays, or single weights, for the size of the file alone",
        _CHOICES,
    )
    sparsity: float = option(0.5, "share of the groups that are left out", "above 0, below 1")
    exact: bool = option(
        False,
        "only what is zero already, or changes no output otherwise: blocks of zeros, and units that are never read, "
        "constant or there twice; sparsity is what there is",
    )
    method: Method | None = option(
        None,
        "which groups go: the cheapest, a few at a time, while the others make up for them (eliminate), those that "
        "proximal steps on WGSEF's envelope set to zero (prox), those of least squares times input second moments "
        "(energy), or of least scores of PST, in which rows and columns count, too (pst); none: eliminate where inputs "
        "are known, and 2048 at most (4096 for units), else energy",
    )
    scope: Literal["model", "weight"] = option(
        "model",
        "what the sparsity is of: all weights together, when calibration inputs show what they matter, or each weight",
    )
    measure: Measure = option(
        "size",
        "what the sparsity of all units together is a share of: the weights that they are in (size), the "
        "multiplications with these (cost), or the units themselves (count)",
    )
    multiple: int | None = option(
        None,
        "units that stay are a multiple of this; none: for filters as many as ONNX Runtime convolves at a time on this "
        "machine, 16 or 8, and 1 for others",
        "units",
    )

    def __post_init__(self) -> None:
        if problem := bad_choice(self):
            raise UsageError(problem)
        if not 0 < self.sparsity < 1:
            raise UsageError(f"group-sparse: sparsity must be above 0 and below 1, got {self.sparsity}")
        found = _BLOCKS.fullmatch(self.groups)
        if self.groups not in (*_UNITS, _WEIGHTS) and (found is None or int(found[1]) not in BLOCKS):
            raise UsageError(f"group-sparse: groups must be one of {_CHOICES}, got {self.groups}")
        if self.multiple is not None and self.multiple < 1:
            raise UsageError(f"group-sparse: multiple must be 1 or more, got {self.multiple}")
        if self.groups not in KINDS and (self.multiple is not None or self.measure != "size"):
            raise UsageError(
                f"group-sparse: multiple and measure are for units that are removed; give groups={' or '.join(KINDS)}"
            )
        if self.groups == _KERNEL and self.method is not None:
            raise UsageError("group-sparse: groups=kernel tries every window of a kernel; leave the method out")

    @property
    def removes(self) -> bool:  # noqa: D102
        return self.exact or self.groups in _UNITS

    @property
    def rewrites(self) -> bool:  # noqa: D102
        return self.groups not in _UNITS

    @property
    def shares(self) -> bool:  # noqa: D102
        return self.scope == "model" and not self.exact and self.groups != _KERNEL

    @property
    def unit_needs(self) -> frozenset[Need]:  # noqa: D102
        return frozenset({"moments"}) if self.exact else super().unit_needs

    def leaves(self, kind: str) -> str | None:  # noqa: D102
        if self.groups == _KERNEL:
            return None if kind == POSITIONS else f"they are {kind}, which groups={_KERNEL} leaves"
        return unasked(kind, self.groups) if self.groups in KINDS else None

    def choose(self, units: Units) -> Kept | Refusal:  # noqa: D102
        if units.kernel:
            return nonzero(units) if self.exact else smaller(units, self.sparsity)
        return exact(units) if self.exact else self._removal.choose(units)

    def apportion(self, surveyed: Iterator[Units]) -> Mapping[str, Pass | Refusal]:  # noqa: D102
        found = shared(self._removal, surveyed, self.measure)
        return {
            name: share if isinstance(share, Refusal) else replace(self, scope="weight", sparsity=share, multiple=1)
            for name, share in found.items()
        }

    @property
    def _removal(self) -> Removal:
        return Removal(self.sparsity, self.method, self.multiple)

    def plan(self, surveyed: Iterator[Surveyed]) -> Mapping[str, Pass | Refusal]:  # noqa: D102
        zero: list[npt.NDArray[np.bool_]] = []
        curves: dict[str, Sequence[Point] | None] = {}
        for survey in surveyed:
            zero.append(~blocks_of(survey.weight.values, self._block, self._tile).reshape(-1))
            found = None if self._there(zero[-1]) else curve(survey, self.sparsity, self._block, self._tile)
            curves[survey.site.name] = found
        if zero and self._there(np.concatenate(zero)):
            return {name: replace(self, scope="weight", exact=True) for name in curves}
        alike: dict[str, Pass | Refusal] = {name: replace(self, scope="weight") for name in curves}
        known = {name: points for name, points in curves.items() if points is not None}
        return alike | {
            name: self._share(level) for name, level in levels(known, self.sparsity, fast=self._tile > 1).items()
        }

    def _there(self, zero: npt.NDArray[np.bool_]) -> bool:
        """Whether as many blocks are zero already as are asked for."""
        return bool(zero.mean() >= self.sparsity - _FOUND)

    def _share(self, level: int) -> Pass | Refusal:
        if level == WHOLE:
            return Refusal(f"kept whole: for {100 * self.sparsity:.3g}% of all blocks, others lose less by it")
        return replace(self, scope="weight", sparsity=level / 100)

    @property
    def _tile(self) -> int:
        return 1 if self.groups == _WEIGHTS else TILE

    @property
    def _block(self) -> int:
        return 1 if self.groups == _WEIGHTS else int(self.groups.removesuffix(")").rpartition("x")[2])

    def preview(self, shape: tuple[int, int], site: SiteInfo) -> Preview | Refusal:  # noqa: D102
        if self.groups in _UNITS:
            return Refusal(f"groups={self.groups} are removed from the graph as a whole")
        if self.groups == _WEIGHTS and not (site.multiplied or site.kernel):
            return Refusal("no product or convolution reads it, so nothing tells which of its weights matter")
        if self.groups != _WEIGHTS and not site.multiplied:
            return Refusal("no product of ours can take the place of its node, so nothing would be skipped")
        if site.dtype != np.float32:
            return Refusal(f"what is kept is float32, the weight is {site.dtype}; use rf8 or ternary")
        if self.exact:
            return Preview(f"without its zero blocks {self._tile}x{self._block} (float32)", None)
        size, words = packed_nbytes(shape, self._block, self._kept(shape), 4), label(self.sparsity, self._block)
        if self.groups == _WEIGHTS:
            size, words = sparse_nbytes(shape, self._kept(shape), 4), f"{100 * self.sparsity:.3g}% sparse"
        reason = no_gain(shape, site.dtype.itemsize, size)
        return Refusal(reason) if reason else Preview(f"{words} (float32)", size)

    def needs(self, shape: tuple[int, int], site: SiteInfo) -> frozenset[Need]:  # noqa: D102
        unused = self.exact or isinstance(self.preview(shape, site), Refusal)
        return frozenset() if unused else frozenset({"gram"})

    def fit(self, weight: Dense, site: SiteInfo, inputs: Statistics | None = None) -> BlockSparse | Sparse | Refusal:  # noqa: D102
        there = blocks_of(weight.values, self._block, self._tile)
        if self.exact and there.all():
            return Refusal(f"none of its blocks of {self._tile}x{self._block} is zero")
        if self.exact or self._there(~there):
            return self._term(weight, there)
        gram = None if inputs is None or inputs.gram is None else eliminate.damped(inputs.gram)
        if gram is None and self.method in ("eliminate", "prox"):
            return Refusal(
                f"method={self.method} needs calibration inputs, and what flows into this weight is not known; "
                "leave the method out for the best that can be done"
            )
        return self._pruned(weight, inputs, gram)

    def _pruned(self, weight: Dense, inputs: Statistics | None, gram: Float64 | None) -> BlockSparse | Sparse:
        values, block, tile = weight.values, self._block, self._tile
        prices = self._prices(values, None if inputs is None else inputs.second_moment, gram)
        keep = largest(prices.reshape(-1), self._kept(weight.shape)).reshape(prices.shape)
        if gram is not None:
            values = eliminate.refit(values, keep, gram, block, tile)
        else:
            values = values * np.repeat(np.repeat(keep, tile, 0), block, 1)[: values.shape[0], : values.shape[1]]
        return self._term(Dense(values, weight.dtype), keep)

    def _prices(self, values: Float32, moments: Float64 | None, gram: Float64 | None) -> Float64:
        """What blocks are worth, float64 ``[tiles, columns]``."""
        block, tile = self._block, self._tile
        if self.method == "pst":
            return eliminate.energies(scores(values, moments), None, block, tile)
        if gram is None:
            return eliminate.energies(values, moments, block, tile)
        if self.method == "prox":
            return proximal.prices(values, gram, block, self._kept(values.shape), tile)
        if self.method == "energy" or (self.method is None and values.shape[1] > eliminate.MOST_INPUTS):
            return eliminate.energies(values, np.diagonal(gram), block, tile)
        if tile == 1:  # rows are too many to take weights away step by step
            return eliminate.energies(values, 1 / np.diagonal(np.linalg.inv(gram)), block, tile)
        return eliminate.eliminate(values, gram, block, _FLOOR * (1 - self.sparsity))

    def _term(self, values: Dense, keep: npt.NDArray[np.bool_]) -> BlockSparse | Sparse:
        return Sparse(values, keep) if self.groups == _WEIGHTS else BlockSparse(values, keep, self._block)

    def _kept(self, shape: tuple[int, int]) -> int:
        tiles, columns = -(-shape[0] // self._tile), -(-shape[1] // self._block)
        return max(1, round((1 - self.sparsity) * tiles * columns))
