"""The passes there are, and the options of one, from the fields of its dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from regc.compiler.passes import Pass, options_of
from regc.compiler.report.layout import columns
from regc.compiler.spec import format_value, hints, type_name

WITHOUT = "; none: "
"""In the help of an option, what comes after it is what holds when the option is left out."""


def show_passes(passes: Mapping[str, type[Pass]], console: Console) -> None:
    """Print names and summaries."""
    table = columns("pass", "what it does")
    for name, pass_ in passes.items():
        table.add_row(Text(name), Text(pass_.summary))
    console.print(table)
    console.print(Text("\nregc passes NAME shows the options of one.", "dim"))
    console.print(Text('Put together: --passes "low-rank{ratio=2},ternary{group=64},rf8"', "dim"))


def show_pass(pass_: type[Pass], console: Console) -> None:
    """Print what a pass does, and its options with types, defaults, units and help."""
    console.print(Text(f"{pass_.name}: {pass_.summary}\n"))
    types = hints(pass_)
    table = columns("option", "type", "default", "what it is")
    for option in options_of(pass_):
        unit, kind = option.metadata.get("unit", ""), type_name(types[option.name])
        words = _help(option) + (f" ({unit})" if unit and unit != kind else "")
        table.add_row(*map(Text, (option.name, kind, _default(option), words)))
    console.print(table)


def _default(option: dataclasses.Field[object]) -> str:
    if option.default is dataclasses.MISSING:
        return "required"
    if option.default not in (None, ()):
        return format_value(option.default)
    _, _, effective = option.metadata.get("help", "").partition(WITHOUT)
    return str(effective).partition(",")[0] or "none"


def _help(option: dataclasses.Field[object]) -> str:
    """The help, without what the default already tells."""
    words, _, effective = option.metadata.get("help", "").partition(WITHOUT)
    return f"{words}; default: {effective}" if "," in effective else str(words)
