"""Units that were removed from the graph, in a terminal and for a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from regc.compiler.report import text
from regc.compiler.report.layout import columns, hanging

if TYPE_CHECKING:
    from regc.compiler.records import UnitsRecord
    from regc.compiler.report import Report

UNITS = ("units", "kind", "kept", "bytes", "output error")

MANY = 3
"""Reasons that a terminal gets: they name nodes, and so are many."""


def rows_of(records: Sequence[UnitsRecord]) -> list[tuple[str, str, str, str, str]]:
    """A row for each set of units that was made smaller, under :data:`UNITS`."""
    return [
        (
            record.name,
            record.kind,
            f"{record.kept} of {record.units}",
            f"{text.size(record.nbytes_before)} -> {text.size(record.nbytes_after)}",
            text.largest([record.output_error]),
        )
        for record in records
    ]


def kept_whole(records: Sequence[UnitsRecord]) -> list[tuple[str, list[str]]]:
    """The names of sets of units from which none was removed, by reason."""
    found: dict[str, list[str]] = {}
    for record in records:
        if record.reason is not None:
            found.setdefault(record.reason, []).append(record.name)
    return list(found.items())


def show_units(report: Report, console: Console, full: bool = False) -> None:
    """Print what became of units; nothing when no pass removes any. ``full`` gives every reason."""
    if report.removed:
        table = columns(*UNITS, right=("kept", "output error"))
        for row in rows_of(report.removed):
            table.add_row(*map(Text, row))
        console.print(table)
        console.print()
    whole = kept_whole(report.units)
    if whole:
        console.print(Text("units left in the graph", "bold"))
        shown = whole if full else whole[:MANY]
        for reason, names in shown:
            console.print(hanging(f"{text.count(len(names), 'set')}: {reason}"))
            console.print(hanging(text.listed(names, 3), 4, style="dim"))
        if len(shown) < len(whole):
            console.print(hanging(f"and {text.count(len(whole) - len(shown), 'other reason')}, by other nodes"))
        console.print()
