"""Random inputs that a model accepts, found by trying.

Shapes leave dimensions open and types do not say what an integer means. So a feed is made from a
:class:`Guess` of the open quantities, together with what names give away (a mask, positions, a sample rate, a
state) and what the graph tells of indices, and the guesses are tried from the most natural on until the model
runs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from regc.compiler.errors import RegcError
from regc.compiler.feeds.inputs import Feed, Input, inputs_of
from regc.compiler.verify.running import first_line, run

MAX_ATTEMPTS = 80
"""Runs after which the search gives up, so that a model that no guess fits ends in bounded time."""

_BATCH = re.compile(r"batch|^(n|b|bs|bsz)$", re.IGNORECASE)
_STATE = re.compile(r"state|hidden|past|cache|^[hc]_?(0|in)?$", re.IGNORECASE)
_RATE = re.compile(r"^sr$|sampl\w*_?rate", re.IGNORECASE)
_WORDS = ("a", "b")
_PASS_THROUGH = ("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class Guess:
    """Values of what a model leaves open: sizes of dimensions, integer scalars, and the bound of integers of
    unknown meaning.

    A bound of 2 also makes all floats positive, for models that take scales, sizes or divisors.
    """

    batch: int
    length: int
    past: int
    number: int
    bound: int


def _guesses() -> Iterator[Guess]:
    """All guesses, those with the fewest steps away from the first choices first."""
    choices = ((2, 1), (8, 32, 128, 512, 224, 64, 256, 16), (0, 8), (1, 16000, 8000, 0), (8, 2, 1))
    steps = itertools.product(*(range(len(options)) for options in choices))
    for step in sorted(steps, key=lambda step: (sum(index > 0 for index in step), sum(step))):
        yield Guess(*(options[index] for options, index in zip(choices, step, strict=True)))


def random_feeds(session: Any, count: int, seed: int, bounds: Mapping[str, int] | None = None) -> list[Feed]:
    """``count`` random feeds on which an ``onnxruntime.InferenceSession`` runs; the same ones for the same
    seed.

    Floats are standard normal (a tenth of it for states), inputs named like a mask are ones, positions count
    up, bytes take all values, other integers are below ``bounds[name]`` (see :func:`index_bounds`) where that
    is known.

    Raises:
        RegcError: an input type that cannot be fed, or no guess on which the model runs; the message has its
            first error.
    """
    inputs = inputs_of(session)
    for value in inputs:
        if value.dtype is None:
            raise RegcError(f"its input {value} has a type that cannot be fed from NumPy")
    tried: set[int] = set()
    first: Exception | None = None
    for guess in _guesses():
        seeds = ((seed, index) for index in range(count))
        feeds = [_Maker(guess, np.random.default_rng(s), bounds or {}).feed(inputs) for s in seeds]
        key = _digest(feeds[0])
        if key in tried:
            continue
        if len(tried) == MAX_ATTEMPTS:
            break
        tried.add(key)
        try:
            for feed in feeds:
                run(session, feed)
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            first = first or error
        else:
            return feeds
    raise RegcError(first_line(first) if first else "no random inputs could be made")


def _digest(feed: Feed) -> int:
    """Equal for feeds that are equal, so that guesses that come to the same are not tried twice."""
    arrays = feed.values()
    return hash(tuple((a.shape, str(a.tolist()) if a.dtype == object else a.tobytes()) for a in arrays))


@dataclass
class _Maker:
    """Makes feeds from one guess; named dimensions keep the size they first got."""

    guess: Guess
    rng: np.random.Generator
    bounds: Mapping[str, int]
    sizes: dict[str, int] = field(default_factory=dict)

    def feed(self, inputs: list[Input]) -> Feed:
        return {value.name: self.array(value) for value in inputs}

    def array(self, value: Input) -> npt.NDArray[Any]:
        shape = tuple(self.size(dim, axis, value) for axis, dim in enumerate(value.shape))
        dtype, name = value.dtype, value.name.lower()
        assert dtype is not None, "random_feeds refuses such an input"
        if dtype.kind == "O":
            return self.rng.choice(np.array(_WORDS, np.object_), shape)
        if "mask" in name and dtype.kind in "biuf":
            return np.ones(shape, dtype)
        if dtype.kind == "f":
            return self.floats(name, shape).astype(dtype)
        if dtype.kind == "b":
            return (
                np.full(shape, self.guess.past > 0) if "cache" in name else self.rng.integers(0, 2, shape).astype(dtype)
            )
        return self.integers(value.name, shape, dtype)

    def floats(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        values = np.asarray(self.rng.standard_normal(shape))
        if self.guess.bound == 2:
            return np.abs(values) + 0.5
        return values * 0.1 if _STATE.search(name) else values

    def integers(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        bound = self.bounds.get(name)
        if _RATE.search(name):
            return np.full(shape, max(self.guess.number, 16000) if self.guess.number != 8000 else 8000, dtype)
        if "position" in name.lower() and shape:
            return np.broadcast_to(self.guess.past + np.arange(shape[-1]), shape).astype(dtype)
        if not shape and bound is None:
            return np.asarray(self.guess.number).astype(dtype)
        if dtype.itemsize == 1 and bound is None and self.guess.bound > 2:
            limits = np.iinfo(dtype)
            return self.rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        limit = min(bound or self.guess.bound, np.iinfo(dtype).max)
        return np.asarray(self.rng.integers(0, limit, shape)).astype(dtype)

    def size(self, dim: int | str | None, axis: int, value: Input) -> int:
        if isinstance(dim, str):
            return self.sizes.setdefault(dim, self.named(dim, axis, value))
        return self.anonymous(axis, value) if dim is None or dim < 0 else dim

    def named(self, dim: str, axis: int, value: Input) -> int:
        parts = [part.strip() for part in dim.split("+")]
        if len(parts) > 1:
            return sum(
                int(part) if part.isdigit() else self.sizes.get(part, self.named(part, 1, value)) for part in parts
            )
        rules: list[tuple[str, Callable[[Guess], int]]] = [
            ("past", lambda guess: guess.past),
            ("total", lambda guess: guess.past + guess.length),
            ("channel", lambda guess: 3),
            ("seq", lambda guess: guess.length),
        ]
        lower = dim.lower()
        if _BATCH.search(lower):
            return self.guess.batch
        return next((rule(self.guess) for word, rule in rules if word in lower), self.anonymous(axis, value))

    def anonymous(self, axis: int, value: Input) -> int:
        return self.guess.batch if axis == 0 or _STATE.search(value.name) else self.guess.length


def index_bounds(graph: Any) -> dict[str, int]:
    """For the inputs of a ``gs.Graph`` that select rows of a table: how many rows the smallest such table
    has.
    """
    found = {tensor.name: list(_tables(tensor)) for tensor in graph.inputs}
    return {name: min(rows) for name, rows in found.items() if rows}


def _tables(tensor: Any) -> Iterator[int]:
    for node in tensor.outputs:
        if node.op in _PASS_THROUGH and node.inputs[0] is tensor:
            yield from _tables(node.outputs[0])
        elif node.op == "Gather" and node.inputs[1] is tensor:
            shape = node.inputs[0].shape
            rows = shape[node.attrs.get("axis", 0)] if shape else None
            if isinstance(rows, int) and rows > 0:
                yield rows
