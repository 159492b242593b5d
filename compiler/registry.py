"""Passes by name, from the entry-point group ``regc.passes``. Ours are registered like anybody's."""

from __future__ import annotations

import importlib.metadata
from functools import cache

from regc.compiler.errors import UsageError
from regc.compiler.passes import Pass
from regc.compiler.suggest import nearest

GROUP = "regc.passes"


@cache
def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}


def names() -> list[str]:
    """The names of all registered passes, sorted; nothing is imported."""
    return sorted(_entry_points())


def get(name: str) -> type[Pass]:
    """The pass of this name.

    Raises:
        UsageError: no such pass, or its package cannot be imported.
    """
    point = _entry_points().get(name)
    if point is None:
        raise UsageError(f'there is no pass "{name}"{nearest(name, names())}; see: regc passes')
    try:
        pass_ = point.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(f'pass "{name}" of {_owner(point)} cannot be loaded from {point.value}: {error}') from error
    if not (isinstance(pass_, type) and issubclass(pass_, Pass)):
        raise UsageError(f'pass "{name}" of {_owner(point)}: {point.value} is not a subclass of regc.compiler.Pass')
    return pass_


def available() -> dict[str, type[Pass]]:
    """All registered passes by name."""
    return {name: get(name) for name in names()}


def _owner(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown package"
