"""How a stored tensor is laid out as a matrix ``[N, K]``: a reversible chain of transposes and reshapes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Transpose:
    """Reorder the axes as ``numpy.transpose`` does."""

    perm: Shape

    def shape(self, source: Shape) -> Shape:
        """The shape that a tensor of shape ``source`` gets."""
        return tuple(source[axis] for axis in self.perm)

    def apply(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The moved array, a view."""
        return array.transpose(self.perm)

    def inverse(self, source: Shape) -> Transpose:
        """The move that takes it back; ``source`` is the shape before."""
        return Transpose(tuple(self.perm.index(axis) for axis in range(len(source))))


@dataclass(frozen=True)
class Reshape:
    """Read the elements, in order, in another shape."""

    target: Shape

    def shape(self, source: Shape) -> Shape:
        """The shape that a tensor of shape ``source`` gets."""
        return self.target

    def apply(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The moved array, a view where possible."""
        return array.reshape(self.target)

    def inverse(self, source: Shape) -> Reshape:
        """The move that takes it back; ``source`` is the shape before."""
        return Reshape(source)


Move = Transpose | Reshape


@dataclass(frozen=True)
class Layout:
    """A tensor of shape ``base`` and the moves that bring it into the shape wanted."""

    base: Shape
    moves: tuple[Move, ...] = ()

    @property
    def shape(self) -> Shape:
        """The shape after all moves."""
        return self.moves[-1].shape(Layout(self.base, self.moves[:-1]).shape) if self.moves else self.base

    def then(self, *moves: Move) -> Layout:
        """The layout with more moves; moves that change nothing are left out."""
        layout = self
        for move in moves:
            idle = move == Transpose(tuple(range(len(layout.shape)))) or move == Reshape(layout.shape)
            layout = layout if idle else Layout(layout.base, (*layout.moves, move))
        return layout

    def matrix(self, rows: int, perm: Shape | None = None) -> Layout:
        """Reorder the axes by ``perm`` and join the first ``rows`` of them to N, the others to K."""
        moved = self.then(Transpose(perm)) if perm is not None else self
        shape = moved.shape
        return moved.then(Reshape((math.prod(shape[:rows]), math.prod(shape[rows:]))))

    def apply(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Move an array of shape ``base``."""
        for move in self.moves:
            array = move.apply(array)
        return array

    def inverse(self) -> tuple[Move, ...]:
        """The moves that bring the result back into shape ``base``."""
        shapes = [Layout(self.base, self.moves[:count]).shape for count in range(len(self.moves))]
        return tuple(move.inverse(shape) for move, shape in zip(reversed(self.moves), reversed(shapes), strict=True))

    def same_as(self, other: Layout) -> bool:
        """Whether both put every element of the base at the same place.

        Decided on the strides of an array that is never touched; moves that NumPy can only do by copying count as
        different unless they are the very same.
        """
        if self.moves == other.moves:
            return self.base == other.base
        probe = np.empty(self.base, np.uint8)
        # Both arrays are held on to: the memory of a copy that is let go of is where the next copy would be.
        arrays = self.apply(probe), other.apply(probe)
        ours, theirs = (array.__array_interface__ for array in arrays)
        return all(ours[key] == theirs[key] for key in ("shape", "strides", "data"))
