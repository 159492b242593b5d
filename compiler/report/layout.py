"""What tables in a terminal are made of: columns without lines, and labels with words."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def columns(*headings: str, right: Sequence[str] = ()) -> Table:
    """A table without lines; the headings in ``right`` are aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for heading in headings:
        table.add_column(
            heading,
            justify="right" if heading in right else "left",
            no_wrap=heading in right,
            overflow="fold",
        )
    return table


class Facts:
    """Lines of a label and words, the words aligned."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.grid = Table.grid(padding=(0, 2, 0, 0))
        self.grid.add_column(style="bold", no_wrap=True)
        self.grid.add_column(overflow="fold")

    def add(self, label: str, words: str, style: str = "") -> None:
        """Add a line."""
        self.grid.add_row(label, Text(words, style))

    def show(self) -> None:
        """Print the lines."""
        self.console.print(self.grid)


def hanging(words: str, indent: int = 2, style: str = "") -> Table:
    """Words whose lines all begin after ``indent`` columns."""
    grid = Table.grid(padding=0)
    grid.add_column(width=indent)
    grid.add_column(overflow="fold")
    grid.add_row("", Text(words, style))
    return grid
