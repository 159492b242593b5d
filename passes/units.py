"""The kinds of units that a pass may be asked to remove: what ``groups`` means to all of them."""

from __future__ import annotations

from regc.compiler.passes import Units

KINDS = {
    "neurons": ("neurons",),
    "filters": ("filters",),
    "channels": ("neurons", "filters"),
    "heads": ("heads",),
    "all": ("neurons", "filters", "heads"),
}
"""What each choice removes. An input channel of a weight is what others compute, a filter or a neuron."""


def unasked(units: Units, groups: str) -> str | None:
    """Why these units are left alone when others were asked for."""
    if units.kind in KINDS[groups]:
        return None
    return f"they are {units.kind}, which groups={groups} leaves; groups={units.kind} or all takes them"
