"""Gates of a model, in a terminal and for a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from regc.compiler.report import text
from regc.compiler.report.layout import columns, hanging
from regc.compiler.report.summary import grouped

if TYPE_CHECKING:
    from regc.compiler.records import GateRecord
    from regc.compiler.report import Report

GATES = ("gate", "operator", "never vary", "from .. to", "variance", "what became of it")
MANY = 8
"""Gates that a terminal gets."""


def gate_rows(records: Sequence[GateRecord]) -> list[tuple[str, str, str, str, str, str]]:
    """A row for each gate that calibration inputs have shown, under :data:`GATES`: constants first, then those of least
    variance, which are safest to settle.
    """
    seen = [record for record in records if record.variance is not None]
    return [_row(record) for record in sorted(seen, key=lambda r: (not r.changed, r.variance))]


def _row(record: GateRecord) -> tuple[str, str, str, str, str, str]:
    went = f", {text.count(record.nodes, 'node')} less" if record.nodes else ""
    span = f"{text.number(record.low or 0.0)} .. {text.number(record.high or 0.0)}"
    return (
        record.name,
        record.op,
        f"{record.fixed} of {record.values}",
        span,
        text.number(record.variance or 0.0),
        f"a constant{went}" if record.changed else record.reason or "",
    )


def show_gates(report: Report, console: Console, full: bool = False) -> None:
    """Print how gates varied and what became of them; nothing when there are none."""
    rows = gate_rows(report.gates)
    if rows:
        table = columns(*GATES, right=GATES[2:5])
        for row in rows if full else rows[:MANY]:
            table.add_row(*map(Text, row))
        console.print(table)
        if len(rows) > MANY and not full:
            console.print(hanging(f"and {text.count(len(rows) - MANY, 'other gate')}, which vary more"))
        console.print()
    unseen = [record for record in report.gates if record.variance is None]
    for reason, group in grouped(unseen, lambda record: record.reason or "").items():
        names = text.listed([record.name for record in group], 3)
        console.print(hanging(f"{text.count(len(group), 'gate')} left: {reason} ({names})"))
        console.print()
