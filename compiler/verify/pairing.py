"""Whether two models can be compared: only those that take the same inputs can."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regc.compiler.errors import RegcError, UsageError
from regc.compiler.feeds.inputs import Input, inputs_of_model
from regc.compiler.model import load


def check_same_inputs(original: Path, compressed: Path) -> None:
    """Raise UsageError when one model cannot take what the other takes: by names, types, and sizes that are known.

    Files that regc cannot read are not looked at: what reads them has better words for that.
    """
    try:
        first, second = (inputs_of_model(load(path)) for path in (original, compressed))
    except RegcError:
        return
    given = {taken.name: taken for taken in second}
    if given.keys() != {taken.name for taken in first} or not all(_alike(one, given[one.name]) for one in first):
        raise UsageError(
            f"{compressed}: takes {_words(second)}, but {original} takes {_words(first)}; "
            "give a model and what was made of it"
        )


def _alike(first: Input, second: Input) -> bool:
    if first.kind != second.kind:
        return False
    if not first.shape or not second.shape:  # of an unknown rank
        return True
    pairs = zip(first.shape, second.shape, strict=False)
    known = all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))
    return known and len(first.shape) == len(second.shape)


def _words(inputs: Sequence[Input]) -> str:
    return ", ".join(map(str, inputs)) or "nothing"
