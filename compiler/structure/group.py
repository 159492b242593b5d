"""What belongs to units that are removed together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from regc.compiler.sites.chains import trace

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Place:
    """Input ``index`` of a node is a constant with ``units * inner`` elements along ``axis``, ``inner`` for each unit.

    All units lie there ``copies`` times, one copy after the other, behind ``before`` other elements.
    For the target of a Reshape, ``axis`` is the position of the number in it, of which each unit has ``inner``.
    ``uses`` is how often a weight is multiplied by for one sample, sizes that the model leaves open taken as 1.
    """

    node: gs.Node
    index: int
    axis: int
    inner: int = 1
    uses: int = 1
    copies: int = 1
    before: int = 0

    def values(self) -> Array:
        """The constant, as the node reads it."""
        chain = trace(self.node.inputs[self.index])
        assert chain is not None, "a place is a constant"
        return chain.values()

    def by_unit(self, units: int) -> Array:
        """The constant as one row a unit, ``[units, elements]``."""
        own = np.moveaxis(self.values(), self.axis, 0)[self.before :][: self.copies * units * self.inner]
        return np.moveaxis(own.reshape(self.copies, units, -1), 0, 1).reshape(units, -1)

    def elements(self, numbers: npt.NDArray[np.intp], units: int) -> npt.NDArray[np.intp]:
        """Which elements along the axis these units are, in the order of the copies."""
        once = (numbers[:, None] * self.inner + np.arange(self.inner)).reshape(-1)
        starts = self.before + units * self.inner * np.arange(self.copies)
        return np.asarray((starts[:, None] + once).reshape(-1), np.intp)


class Number(NamedTuple):
    """A number in an attribute of a node, at ``position`` of a list or alone (None), has ``inner`` for each unit."""

    node: gs.Node
    attribute: str
    position: int | None
    inner: int


@dataclass(eq=False)
class Group:
    """A set of units: neurons of a hidden layer, filters of a convolution, heads.

    ``producers`` are the weights whose rows compute the units, ``followers`` other constants along their axis (biases,
    scales), ``consumers`` the weights whose columns read them. ``targets`` are numbers in Reshape targets, ``numbers``
    those in attributes: the groups of a convolution, the sizes of parts. ``size`` is how many outputs of a producer
    make a unit. ``refusal`` says why the units cannot be removed, if so. ``certain`` tells what a consumer reads
    whatever the model is given; see :class:`regc.compiler.structure.certain.Certain`. ``kernel`` has the sizes of a
    kernel whose positions are the units (:mod:`regc.compiler.structure.windows`), and ``dims`` the shapes around it.
    """

    name: str
    kind: str
    units: int
    size: int
    producers: list[Place] = field(default_factory=list)
    followers: list[Place] = field(default_factory=list)
    consumers: list[Place] = field(default_factory=list)
    targets: list[Place] = field(default_factory=list)
    numbers: list[Number] = field(default_factory=list)
    refusal: str | None = None
    kernel: tuple[int, ...] = ()
    dims: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    certain: Callable[[Place], npt.NDArray[np.float64] | None] = lambda place: None

    @property
    def places(self) -> list[Place]:
        """All constants that lose elements with a unit."""
        return [*self.producers, *self.followers, *self.consumers]
