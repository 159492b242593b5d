"""The kinds of units that a pass may be asked to remove: what ``groups`` means to all of them."""

from __future__ import annotations

KINDS = {
    "neurons": ("neurons",),
    "filters": ("filters",),
    "channels": ("neurons", "filters"),
    "heads": ("heads",),
    "all": ("neurons", "filters", "heads"),
}
"""What each choice removes. An input channel of a weight is what others compute, a filter or a neuron."""


def unasked(kind: str, groups: str) -> str | None:
    """Why units of a kind are left alone when others were asked for."""
    if kind in KINDS[groups]:
        return None
    return f"they are {kind}, which groups={groups} leaves; groups={kind} or all takes them"
