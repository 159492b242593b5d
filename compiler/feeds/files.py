"""Samples in one file: ``.npz`` or ``.npy`` arrays whose first axis is the sample, or one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from regc.compiler.errors import UsageError
from regc.compiler.feeds.archives import Header, read_array, read_arrays, read_header, read_headers
from regc.compiler.feeds.inputs import Feed, Input, as_fed, check_arrays
from regc.compiler.feeds.source import Source
from regc.compiler.report.text import count as counted

BATCH = 32
"""Samples in a feed where the model leaves the size of a batch open."""
_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "fiu", "O": "U"}
"""For the kind of an input's type, the kinds of what JSON may have there."""


class Archive(Source):
    """Arrays whose first axis is the sample: of the inputs' own rank, then a feed is a batch of them, or of one axis
    more, then a feed is one sample. A ``.npy`` file is for models of one input.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.headers = {"": read_header(path)} if path.suffix == ".npy" else read_headers(path)
        sizes = {header.shape[0] if header.shape else None for header in self.headers.values()}
        if len(sizes) != 1 or None in sizes:
            listed = ", ".join(f"{name or 'the array'} {header}" for name, header in self.headers.items())
            raise UsageError(f"{path}: the first axis of every array must be the sample, and as long; it has {listed}")
        self.size = sizes.pop() or 0
        self.words = f"{counted(self.size, 'sample')} from {path}"

    def check(self, inputs: Sequence[Input]) -> None:
        """Hold types and shapes against the inputs."""
        self._step(inputs)

    def count(self, samples: int, inputs: Sequence[Input]) -> int:
        """How many batches the samples make."""
        step = self._step(inputs)
        return samples // step if any(map(_fixed, inputs)) else -(-samples // step)

    def feeds(self, inputs: Sequence[Input], indices: Sequence[int] | None) -> Iterator[Feed]:
        """Batches as large as the model wants them; what is left over of a fixed size is left out."""
        step = self._step(inputs)
        single = self.path.suffix == ".npy"
        arrays = {"": read_array(self.path)} if single else read_arrays(self.path)
        named = self._named(arrays, inputs)
        chosen = np.arange(self.size or 0) if indices is None else np.asarray(indices)
        fixed = any(_fixed(value) for value in inputs)
        for start in range(0, len(chosen) - (step - 1 if fixed else 0), step):
            rows = chosen[start : start + step]
            yield {
                value.name: as_fed(named[value.name][rows[0]] if self._whole(named, value) else named[value.name][rows])
                for value in inputs
            }

    def _step(self, inputs: Sequence[Input]) -> int:
        """How many samples make a feed."""
        headers = self._named(self.headers, inputs)
        whole = [value for value in inputs if value.name in headers and self._whole(headers, value)]
        sizes = {size for value in inputs if value not in whole and (size := _fixed(value))}
        step = 1 if whole else next(iter(sizes), BATCH)
        if len(sizes) > 1 or (self.size or 0) < (step if sizes else 1):
            listed = "; ".join(map(str, inputs))
            raise UsageError(f"{self.path}: {self.size} samples make no batch for a model that takes {listed}")
        names = {value.name for value in whole}
        fed = {
            name: Header(header.dtype, header.shape[1:] if name in names else (step, *header.shape[1:]))
            for name, header in headers.items()
        }
        check_arrays(str(self.path), fed, inputs, headers)
        return step

    def _named(self, arrays: Mapping[str, Any], inputs: Sequence[Input]) -> dict[str, Any]:
        if "" not in arrays or self.path.suffix != ".npy":
            return dict(arrays)
        if len(inputs) != 1:
            listed = "; ".join(map(str, inputs))
            raise UsageError(f"{self.path}: is one array, and the model takes {listed}; write .npz with these names")
        return {inputs[0].name: arrays[""]}

    @staticmethod
    def _whole(arrays: Mapping[str, Any], value: Input) -> bool:
        """Whether one entry along the first axis is all that the input takes."""
        return len(arrays[value.name].shape) == len(value.shape) + 1


def _fixed(value: Input) -> int | None:
    """The size of batches that a model insists on."""
    first = value.shape[0] if value.shape else None
    return first if isinstance(first, int) and first > 0 else None


class JsonLines(Source):
    """One feed a line, ``{"input name": numbers in nested lists}``; the axis of the batch may be left out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            self.lines = [number for number, line in enumerate(file) if line.strip()]
        if not self.lines:
            raise UsageError(f"{path}: is empty; write one JSON object a line, arrays by input name")
        self.size = len(self.lines)
        self.words = f"{counted(self.size, 'feed')} from {path}"

    def check(self, inputs: Sequence[Input]) -> None:
        """Read the first line, as a sign of the others."""
        next(iter(self.feeds(inputs, [0])))

    def feeds(self, inputs: Sequence[Input], indices: Sequence[int] | None) -> Iterator[Feed]:
        """One feed for each line."""
        wanted = self.lines if indices is None else [self.lines[index] for index in indices]
        left = set(wanted)
        with self.path.open(encoding="utf-8") as file:
            for number, line in enumerate(file):
                if number in left:
                    yield self._feed(line, f"{self.path}, line {number + 1}", inputs)

    @staticmethod
    def _feed(line: str, place: str, inputs: Sequence[Input]) -> Feed:
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"{place}: is not JSON ({error}); write one object a line") from error
        if not isinstance(values, dict):
            raise UsageError(f"{place}: is no object; write {{'input name': numbers}}")
        known = {value.name: value for value in inputs}
        arrays = {key: _array(given, known.get(key), f"{place}: {key}") for key, given in values.items()}
        check_arrays(place, {key: Header(array.dtype, array.shape) for key, array in arrays.items()}, inputs)
        return {key: as_fed(array) for key, array in arrays.items()}


def _array(given: Any, value: Input | None, place: str) -> npt.NDArray[Any]:
    """A JSON value in the type of its input, with an axis for the batch where that is all that lacks."""
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise UsageError(f"{place}: the lists in it differ in length; one feed is one array") from error
    if value is None or value.dtype is None:
        return array
    if array.dtype.kind not in _KINDS[value.dtype.kind]:
        raise UsageError(f"{place}: holds {array.dtype}; the model takes {value}")
    if array.ndim == len(value.shape) - 1 and _fixed(value) in (None, 1):
        array = array[None]
    return array if value.dtype.kind == "O" else array.astype(value.dtype)
