"""The arguments and options that commands share, each declared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class _File(click.Path):
    """A path; the empty one is a mistake, mostly of a shell variable that is not set."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "":
            self.fail("the path is empty; give the name of a file", param, ctx)
        return super().convert(value, param, ctx)


FILE = _File(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
_MEASURING = (
    click.option(
        "--calibration",
        "feeds",
        type=FILE,
        metavar="FOLDER",
        help="Inputs to run both models on: .npz files, one feed each.  [default: random inputs]",
    ),
    click.option(
        "--count",
        type=click.IntRange(min=1),
        default=4,
        show_default=True,
        metavar="N",
        help="How many random feeds to make.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        metavar="N",
        help="Where the random inputs start: the same seed makes the same inputs.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        help="How many threads ONNX Runtime runs the models with.  [default: its own choice]",
    ),
    click.option(
        "--max-error",
        type=click.FloatRange(min=0),
        metavar="X",
        help="Tolerance: largest absolute error of any output.",
    ),
    click.option(
        "--min-sqnr",
        type=float,
        metavar="DB",
        help="Tolerance: least signal to quantization noise ratio of any output.",
    ),
)


def measuring(command: Command) -> Command:
    """Add the options of commands that run two models and compare their outputs."""
    for option in reversed(_MEASURING):
        command = option(command)
    return command
