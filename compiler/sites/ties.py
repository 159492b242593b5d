"""Weights that are stored more than once: copies with equal content, also transposed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from regc.compiler.model import load_values
from regc.compiler.sites.layout import Transpose

if TYPE_CHECKING:
    from regc.compiler.sites import Holder

MIN_SIZE = 256
"""Elements below which a copy is not looked for: equal small weights mean nothing."""
_SAMPLES = 32
_ROWS_AT_ONCE = 1 << 22


def tied_groups(holders: Sequence[Holder]) -> list[list[Holder]]:
    """Group the holders of equal matrices; a copy that is the transpose of the first gets that move in its layout."""
    groups: list[list[Holder]] = []
    by_sample: dict[bytes, list[list[Holder]]] = {}
    for holder in sorted(holders, key=_multiplied_first):
        prints = _fingerprints(holder)
        group = _find(holder, prints, by_sample)
        if group is None:
            group = []
            groups.append(group)
            for plain in prints[:1]:
                by_sample.setdefault(plain, []).append(group)
        group.append(holder)
    order = {id(holder): position for position, holder in enumerate(holders)}
    return sorted(groups, key=lambda group: min(order[id(holder)] for holder in group))


def _multiplied_first(holder: Holder) -> bool:
    return not any(reader.role.multiplied for reader in holder.readers)


def _find(holder: Holder, prints: Sequence[bytes], by_sample: dict[bytes, list[list[Holder]]]) -> list[Holder] | None:
    for turned, sample in enumerate(prints):
        for group in by_sample.get(sample, []):
            if _equal(group[0], holder, turned=bool(turned)):
                if turned:
                    holder.layout = holder.layout.then(Transpose((1, 0)))
                return group
    return None


def _fingerprints(holder: Holder) -> list[bytes]:
    """Shape, type and a few elements of the matrix and of its transpose; none of a small one."""
    if np.prod(holder.layout.shape) < MIN_SIZE:
        return []
    matrix = _matrix(holder, turned=False)
    return [_fingerprint(matrix), _fingerprint(matrix.T)]


def _fingerprint(matrix: npt.NDArray[Any]) -> bytes:
    rows, columns = matrix.shape
    steps = np.arange(1, _SAMPLES + 1)
    sample = matrix[steps * 7919 % rows, steps * 104729 % columns]
    return f"{matrix.shape} {matrix.dtype}".encode() + bytes(sample.tobytes())


def _equal(first: Holder, second: Holder, *, turned: bool) -> bool:
    ours, theirs = _matrix(first, turned=False), _matrix(second, turned=turned)
    step = max(1, _ROWS_AT_ONCE // max(1, ours.shape[1]))
    return all(_same_bytes(ours[row : row + step], theirs[row : row + step]) for row in range(0, len(ours), step))


def _same_bytes(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    return np.ascontiguousarray(first).tobytes() == np.ascontiguousarray(second).tobytes()


def _matrix(holder: Holder, *, turned: bool) -> npt.NDArray[Any]:
    matrix = holder.layout.apply(load_values(holder.constant, aligned=False))
    return matrix.T if turned else matrix
