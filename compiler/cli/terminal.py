"""Where the command line writes: tables to stdout, progress to stderr when that is a terminal."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from regc.compiler.records import Progress

PIPED_WIDTH = 110
"""Columns of what is written to a file or a pipe, unless COLUMNS says otherwise."""
_STAGES = {"compress": "compressing", "save": "writing", "verify": "verifying"}


def console() -> Console:
    """Standard output."""
    from rich.console import Console  # noqa: PLC0415 - slow to import

    fixed = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if fixed else PIPED_WIDTH, highlight=False)


class ProgressBar:
    """Shows :class:`~regc.compiler.records.Progress` with the time left; silent when stderr is not a
    terminal.

    ``stage`` is the last one heard of.
    """

    def __init__(self) -> None:
        from rich import progress  # noqa: PLC0415 - slow to import
        from rich.console import Console  # noqa: PLC0415

        errors = Console(stderr=True)
        self.stage = ""
        self._bar = progress.Progress(
            progress.TextColumn("{task.description:<11}"),
            progress.BarColumn(bar_width=24),
            progress.TaskProgressColumn(),
            progress.TimeRemainingColumn(compact=True),
            progress.TextColumn("{task.fields[item]}", style="dim", markup=False),
            console=errors,
            transient=True,
            disable=not errors.is_terminal,
        )
        self._task = self._bar.add_task("reading", total=None, item="")

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show how far the work is; a new stage begins a new estimate."""
        from regc.compiler.report.text import shorten  # noqa: PLC0415

        if progress.stage != self.stage:
            self.stage = progress.stage
            self._bar.reset(self._task, description=_STAGES.get(self.stage, self.stage))
        item = shorten(progress.item, 40)
        self._bar.update(self._task, total=progress.total, completed=progress.done, item=item)

    def verifying(self, done: int, total: int, item: str) -> None:
        """Show a step of a verification."""
        from regc.compiler.records import Progress  # noqa: PLC0415 - slow to import

        self(Progress("verify", done, total, item))
