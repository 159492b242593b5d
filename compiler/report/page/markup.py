"""What the page is made of: tables, bars and words, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """A table of cells that are HTML; the columns ``numeric`` are aligned to the right."""

    def cells(tag: str, row: Sequence[str]) -> str:
        marks = (' class="n"' if index in numeric else "" for index in range(len(row)))
        return "<tr>" + "".join(f"<{tag}{mark}>{cell}</{tag}>" for mark, cell in zip(marks, row, strict=True)) + "</tr>"

    head = cells("th", headings) if headings else ""
    facts = "" if headings else ' class="facts"'
    return f'<div class="wide"><table{facts}>{head}{"".join(cells("td", row) for row in rows)}</table></div>'


def soft(words: str) -> str:
    """Words in the background."""
    return f'<span class="soft">{escape(words)}</span>'


def bar(kind: str, nbytes: int, largest: int) -> str:
    """A bar of class ``kind``, as long as its share of the ``largest``."""
    return f'<i class="{kind}" style="width:{100 * nbytes / largest:.2f}%"></i>'


def columns(histogram: Sequence[float]) -> str:
    """A histogram."""
    most = max(histogram) or 1
    bars = "".join(f'<i class="now" style="height:{100 * share / most:.0f}%"></i>' for share in histogram)
    return f'<div class="columns">{bars}</div>'
