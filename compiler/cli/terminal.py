"""Where the command line writes: tables to stdout, progress to stderr when that is a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from regc.compiler.records import Progress

PIPED_WIDTH = 110
"""Columns of what is written to a file or a pipe, unless COLUMNS says otherwise."""
_STAGES = {
    "calibrate": "calibrating",
    "plan": "planning",
    "compress": "compressing",
    "recover": "recovering",
    "save": "writing",
    "verify": "verifying",
}


def open_streams() -> None:
    """Open the standard streams that whoever started us has closed, on nothing: else the first file that is opened
    gets their number, and what ONNX Runtime prints goes into it.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as we live


@contextmanager
def printing() -> Iterator[Console]:
    """Standard output, for all that a command prints. A reader that leaves early (``regc inspect | head``) is fine.

    Raises:
        RegcError: what was printed could not be written, say to a full disk.
    """
    from regc.compiler.errors import RegcError  # noqa: PLC0415

    try:
        yield _console()
        sys.stdout.flush()
    except BrokenPipeError:
        silence()
    except OSError as error:
        silence()
        raise RegcError(unprintable(error)) from error


def unprintable(error: OSError) -> str:
    """What to say when standard output takes nothing more."""
    return f"standard output cannot be written to ({error.strerror or error}); print to another place"


def silence() -> None:
    """Let what is still to be printed go nowhere, so that the interpreter does not fail on it as it ends."""
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    with suppress(OSError, ValueError):  # what stands in for stdout in tests has no descriptor
        os.dup2(sys.stdout.fileno(), sys.__stdout__.fileno() if sys.__stdout__ else 1)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 - slow to import

    class Plain(Console):
        """Leaves it to :func:`printing` what to do about a reader that is gone; rich would exit."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    fixed = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Plain(width=None if fixed else PIPED_WIDTH, highlight=False)


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
        self._bar.update(self._task, total=progress.total or None, completed=progress.done, item=item)

    def verifying(self, done: int, total: int, item: str) -> None:
        """Show a step of a verification."""
        from regc.compiler.records import Progress  # noqa: PLC0415 - slow to import

        self(Progress("verify", done, total, item))
