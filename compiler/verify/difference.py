"""How far the outputs of two models are apart: error, SQNR and cosine for each output, over all feeds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regc.compiler.verify.running import OK, Run

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OutputError:
    """The difference between an output y of the original and y' of the compressed model, over all feeds.

    There are ``count`` values, of which ``finite`` are finite on both sides and ``differ`` differ (two NaN are
    equal). ``sqnr_db`` is ``10 log10(sum y^2 / sum (y - y')^2)``, infinite when nothing differs; ``cosine`` is
    between all y and all y' that are finite. Where only one of the two is NaN, or an infinity that the other is
    not, errors are infinite. What nothing was compared for is NaN, and ``note`` says in words why. Booleans
    count as 0 and 1, strings as 1 where they are equal and 0 where not: then ``mean_abs`` is the share that
    differs.
    """

    name: str
    count: int
    finite: int
    differ: int
    max_abs: float
    mean_abs: float
    sqnr_db: float
    cosine: float
    note: str = ""

    @property
    def comparable(self) -> bool:
        """Whether all values could be compared."""
        return not self.note


class Tally:
    """Collects the sums behind an :class:`OutputError`, pair of arrays by pair of arrays."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.note = ""
        self.count = self.finite = self.differ = self.broken = 0
        self.max_abs = self.sum_abs = self.noise = 0.0
        self.signal = self.signal_after = self.dot = 0.0

    def add(self, original: Any, compressed: Any) -> None:
        """Compare two outputs of one run: tensors, sequences of them, or maps."""
        ours, theirs = list(_arrays(compressed)), list(_arrays(original))
        shapes = [array.shape for array in theirs], [array.shape for array in ours]
        if shapes[0] != shapes[1]:
            self.note = f"shape {_shapes(shapes[0])} became {_shapes(shapes[1])}: not compared"
            return
        for before, after in zip(theirs, ours, strict=True):
            self._add(*_numbers(before, after))

    def _add(self, y: Array, z: Array) -> None:
        same = (y == z) | (np.isnan(y) & np.isnan(z))
        finite = np.isfinite(y) & np.isfinite(z)
        self.count += y.size
        self.finite += int(finite.sum())
        self.differ += int((~same).sum())
        self.broken += int((~same & ~finite).sum())
        y, z = y[finite], z[finite]
        gap = np.abs(y - z)
        self.max_abs = max(self.max_abs, float(gap.max(initial=0)))
        self.sum_abs += float(gap.sum())
        self.noise += float(gap @ gap)
        self.signal += float(y @ y)
        self.signal_after += float(z @ z)
        self.dot += float(y @ z)

    def result(self) -> OutputError:
        """The figures so far; NaN where nothing was compared."""
        if not self.finite and not self.broken:
            note = self.note or ("no finite value to compare" if self.count else "no value to compare")
            return OutputError(self.name, self.count, 0, 0, math.nan, math.nan, math.nan, math.nan, note)
        broken = math.inf if self.broken else 0.0
        decibel = -math.inf if self.broken else _decibel(self.signal, self.noise)
        return OutputError(
            name=self.name,
            count=self.count,
            finite=self.finite,
            differ=self.differ,
            max_abs=self.max_abs + broken,
            mean_abs=self.sum_abs / self.count + broken,
            sqnr_db=decibel,
            cosine=self._cosine() if self.differ else 1.0,
            note=self.note,
        )

    def _cosine(self) -> float:
        if not self.finite:
            return math.nan
        norms = math.sqrt(self.signal) * math.sqrt(self.signal_after)
        if norms:
            return min(1.0, max(-1.0, self.dot / norms))
        return 1.0 if self.signal == self.signal_after else 0.0


def _decibel(signal: float, noise: float) -> float:
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def _arrays(value: Any) -> Iterator[Array]:
    """The tensors in an output: itself, those of a sequence, the keys and values of a map, none of an empty
    optional.
    """
    if isinstance(value, dict):
        yield np.array(list(value))
        yield from _arrays(list(value.values()))
    elif isinstance(value, list):
        scalars = all(np.isscalar(item) for item in value)
        if scalars:
            yield np.array(value)
        else:
            for item in value:
                yield from _arrays(item)
    elif value is not None:
        yield np.asarray(value)


def _numbers(before: Array, after: Array) -> tuple[Array, Array]:
    """Both as flat float64."""
    if before.dtype.kind in "OUS" or after.dtype.kind in "OUS":
        equal = before.astype(str) == after.astype(str)
        return np.ones(before.size), equal.reshape(-1).astype(np.float64)
    return before.reshape(-1).astype(np.float64), after.reshape(-1).astype(np.float64)


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes) or "nothing"


def differences(before: Run, after: Run) -> tuple[OutputError, ...]:
    """One entry for each output of ``before``; outputs are matched by name."""
    position = {name: index for index, name in enumerate(after.names)}
    return tuple(_difference(name, index, position.get(name), before, after) for index, name in enumerate(before.names))


def _difference(name: str, ours: int, theirs: int | None, before: Run, after: Run) -> OutputError:
    tally = Tally(name)
    if theirs is None:
        tally.note = "the other model has no such output"
        return tally.result()
    for outputs, others in zip(before.outputs, after.outputs, strict=True):
        tally.add(outputs[ours], others[theirs])
    return tally.result()


def largest_difference(one: Run, other: Run) -> float | None:
    """The largest absolute difference of any output, None when one of the two did not run."""
    if one.status != OK or other.status != OK or not one.outputs:
        return None
    measured = (output.max_abs for output in differences(one, other))
    return max((value for value in measured if not math.isnan(value)), default=None)
