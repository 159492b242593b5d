"""The arguments and options that commands share, each declared once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from regc.compiler.suggest import nearest

Command = TypeVar("Command", bound=Callable[..., Any])


class _File(click.Path):
    """A path; the empty one is a mistake, mostly of a shell variable that is not set."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "":
            self.fail("the path is empty; give the name of a file", param, ctx)
        return super().convert(value, param, ctx)


class Choice(click.Choice):  # type: ignore[type-arg, unused-ignore]
    """One of some words; a word that is like one of them is answered with that."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:  # noqa: D102
        return super().get_invalid_choice_message(value, ctx).rstrip(".") + nearest(str(value), map(str, self.choices))


FILE = _File(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
SAMPLES = click.option(
    "--samples",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many samples of DATA to use at most, drawn by --seed.  [default: all]",
)
SEED = click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="What random inputs and draws begin with: the same seed makes the same ones.",
)
THREADS = click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many threads ONNX Runtime runs the models with.  [default: its own choice]",
)
_MEASURING = (
    SAMPLES,
    click.option(
        "--count",
        type=click.IntRange(min=1),
        default=4,
        show_default=True,
        metavar="N",
        help="How many random feeds to make.",
    ),
    SEED,
    THREADS,
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


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)


class _Bytes(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A number of bytes with a unit, such as 2GiB or 500MB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = _SIZE.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value} is no size; write 2GiB, 500MB or a number of bytes", param, ctx)
        number, unit, binary = found.groups()
        power = " kmgt".index(unit.lower()) if unit else 0
        return int(float(number) * (1024 if binary else 1000) ** power)


DATA = (
    "a folder of .npz files (one feed each), one .npz or .npy file (the first axis is the sample), a .jsonl file (one "
    "feed a line), package.module:callable, which yields feeds, or generated: texts that a language model writes "
    "itself (generated:1 begins them with token 1, which should be its beginning of text)"
)
_GATHERING = (
    click.option(
        "--mask",
        metavar="INPUT",
        help="An input of 0 and 1, such as attention_mask: where it is 0, what flows into weights does not count.",
    ),
    click.option(
        "--mix",
        type=float,
        metavar="SHARE",
        help="Run each feed a second time with this share of its words replaced by any, for models that look words up: "
        "weights are then fitted for more than one kind of text.",
    ),
    click.option(
        "--calibration-memory",
        "memory",
        type=_Bytes(),
        default="2GiB",
        show_default=True,
        metavar="SIZE",
        help="How much statistics may take at a time; with less, the inputs are run more often.",
    ),
)


def gathering(command: Command) -> Command:
    """Add the options of commands that gather statistics."""
    for option in reversed(_GATHERING):
        command = option(command)
    return command


def measuring(command: Command) -> Command:
    """Add the options of commands that run two models and compare their outputs."""
    for option in reversed(_MEASURING):
        command = option(command)
    return command
