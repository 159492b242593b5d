"""Numbers and names as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

_UNITS = ("B", "kB", "MB", "GB", "TB")

NO_WEIGHTS = "none that a pass could take"


def size(nbytes: float) -> str:
    """Bytes in decimal units with three digits: ``590 kB``."""
    unit = 0
    while nbytes >= 999.5 and unit < len(_UNITS) - 1:
        nbytes /= 1000
        unit += 1
    return f"{int(nbytes)} B" if not unit else f"{digits(nbytes)} {_UNITS[unit]}"


def digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    rounded = float(f"{value:.2e}")
    return f"{rounded:.{max(0, 2 - math.floor(math.log10(rounded)))}f}" if rounded else "0"


def ratio(before: float, after: float) -> str:
    """How many times smaller: ``8.4x``."""
    return f"{before / after:.1f}x" if after else "all of it"


def number(value: float) -> str:
    """A measured value with three digits: ``0.0123``, ``1.2e-07``, ``-`` for none."""
    return "-" if math.isnan(value) else f"{value:.3g}"


def largest(values: Iterable[float | None]) -> str:
    """The largest of the values that are known, ``-`` when none is."""
    known = [value for value in values if value is not None]
    return number(max(known)) if known else "-"


def mean_ratio(values: Iterable[float | None]) -> str:
    """The mean of the ratios that are known: ``1.6x``, ``-`` when none is."""
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.2g}x" if known else "-"


def decibel(value: float) -> str:
    """An SQNR: ``21.4 dB``, ``exact`` when infinite."""
    if math.isnan(value):
        return "-"
    return "exact" if value == math.inf else f"{value:.1f} dB"


def cosine(value: float) -> str:
    """A cosine: with as many digits as tell it from 1."""
    if math.isnan(value) or value == 1:
        return "-" if math.isnan(value) else "1"
    return f"{value:.{min(9, max(4, 2 - math.floor(math.log10(1 - value))))}f}"


def shape(dims: Sequence[int]) -> str:
    """``384x1536``."""
    return "x".join(map(str, dims))


def shorten(name: str, width: int) -> str:
    """A name in at most ``width`` characters: the middle goes, since exporters tell layers apart at both
    ends.
    """
    if len(name) <= width:
        return name
    tail = (width - 2) * 2 // 3
    return f"{name[: width - 2 - tail]}..{name[len(name) - tail :]}"


def known_as(name: str, users: Sequence[str]) -> str:
    """The name of a weight, or of the first node that reads it where an exporter made up a name like
    ``onnx::MatMul_712``.

    Selectors match both.
    """
    return users[0] if users and re.fullmatch(r"onnx::\w+_\d+|\d+", name) else name


def wrap(name: str, width: int) -> str:
    """A name broken into lines of at most ``width`` characters, after its separators where possible."""
    lines = [""]
    for part in re.findall(r"[^./:_ ]*[./:_ ]+|[^./:_ ]+", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(
        line[at : at + width].rstrip() for line in lines for at in range(0, max(1, len(line.rstrip())), width)
    )


def listed(names: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 9 more``."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def count(number_of: int, noun: str) -> str:
    """``1 weight``, ``2 weights``."""
    return f"{number_of} {noun}" + ("" if number_of == 1 else "s")


def unless_told(status: str, *told: str) -> str:
    """A status, or that it is one of those above it: errors of ONNX Runtime are long."""
    return "the same" if status != "ok" and status in told else status
