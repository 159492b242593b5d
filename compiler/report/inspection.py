"""What is in a model, weight by weight, and what passes would do with it: from shapes alone, no weight is
read unless its law is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from regc.compiler.passes import Pass, Preview, Refusal
from regc.compiler.report import compressed_before, text
from regc.compiler.report.laws import law_data, laws_of, show_laws
from regc.compiler.report.layout import Facts, columns
from regc.compiler.report.summary import grouped
from regc.compiler.select import Selection
from regc.compiler.sites import Site, find_sites

if TYPE_CHECKING:
    from regc.compiler.distribution import Distribution
    from regc.compiler.model import Model

MANY = 100
"""Weights above which those that are alike share a row."""

Answer = Preview | Refusal


@dataclass(frozen=True)
class Inspection:
    """The weights of a model with the answer of each pass, and the bytes of everything else in its files.

    ``laws`` are the distributions of the weights, None when nobody has asked.
    """

    model: Model
    passes: tuple[Pass, ...]
    sites: tuple[Site, ...]
    answers: tuple[tuple[Answer, ...], ...]
    laws: tuple[Distribution | None, ...] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all weights, each stored copy counted."""
        return sum(site.nbytes for site in self.sites)


WITH_TERMS = 3
"""Up to so many passes there is room for the terms that they would make."""


def inspect_model(model: Model, passes: Sequence[Pass], *, stats: bool = False) -> Inspection:
    """Ask every pass about every weight, each as if it were the only pass.

    ``stats`` reads the weights, to tell their laws.
    """
    sites = () if model.opaque else tuple(find_sites(model))
    answers = tuple(tuple(_answer(pass_, site) for pass_ in passes) for site in sites)
    return Inspection(model, tuple(passes), sites, answers, laws_of(sites) if stats else None)


def _answer(pass_: Pass, site: Site) -> Answer:
    reason = site.refusal or Selection(pass_.include, pass_.exclude).refuses(site.info)
    return Refusal(reason) if reason else pass_.preview(site.info.shape, site.info)


def inspection_data(inspection: Inspection) -> dict[str, Any]:
    """The inspection as plain values for JSON."""
    laws = inspection.laws or (None,) * len(inspection.sites)
    return {
        "model": str(inspection.model.path),
        "opset": inspection.model.opset,
        "note": inspection.model.opaque,
        "weights": [
            {
                "name": site.info.name,
                "aliases": list(site.aliases),
                "users": list(site.info.users),
                "op_types": list(site.info.op_types),
                "shape": list(site.info.shape),
                "type": str(site.info.dtype),
                "bytes": site.nbytes,
                "multiplied": site.info.multiplied,
                "law": law_data(law),
                "passes": {p.name: _plain(answer) for p, answer in zip(inspection.passes, answers, strict=True)},
            }
            for site, answers, law in zip(inspection.sites, inspection.answers, laws, strict=True)
        ],
    }


def _plain(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, Refusal):
        return {"refused": answer.reason}
    return {"term": answer.label, "bytes": answer.nbytes}


class _Notes:
    """Numbers words, so that a column has room for them; ``brief`` where it has little."""

    def __init__(self, brief: bool) -> None:
        self.brief = brief
        self.numbers: dict[str, int] = {}

    def cell(self, answer: Answer, name: str) -> str:
        """A short answer of the pass of this name: the bytes, and the new term where the name of the pass
        does not tell it.
        """
        if isinstance(answer, Refusal):
            return f"no {self._mark(answer.reason)}"
        label = "" if answer.label.startswith(name) else answer.label.partition(" (")[0]
        size = "" if answer.nbytes is None else text.size(answer.nbytes)
        if self.brief:
            return size or (f"yes {self._mark(label)}" if label else "yes")
        return "\n".join(words for words in (label, size) if words) or "yes"

    def _mark(self, words: str) -> str:
        return f"[{self.numbers.setdefault(words, len(self.numbers) + 1)}]"


def show_inspection(inspection: Inspection, console: Console, full: bool = False) -> None:
    """Print the inspection, the reasons for refusals as numbered notes below the table."""
    notes = _Notes(brief=len(inspection.passes) > WITH_TERMS)
    names = [pass_.name for pass_ in inspection.passes]
    rows = [
        (site, [notes.cell(answer, name) for answer, name in zip(answers, names, strict=True)])
        for site, answers in zip(inspection.sites, inspection.answers, strict=True)
    ]
    if rows:
        _show_rows(rows, inspection.passes, console, full)
        console.print()
    for reason, mark in notes.numbers.items():
        console.print(Text(f"[{mark}] {reason}"))
    if notes.numbers:
        console.print()
    if inspection.laws:
        show_laws(inspection.sites, inspection.laws, console, full)
    _show_totals(inspection, console)


def _show_rows(rows: list[tuple[Site, list[str]]], passes: Sequence[Pass], console: Console, full: bool) -> None:
    one_each = full or len(rows) <= MANY
    groups = grouped(rows, lambda row: id(row[0]) if one_each else (_kind(row[0]), row[0].info.shape, *row[1]))
    cells = [
        [_kind(site), text.shape(site.info.shape), text.size(sum(row[0].nbytes for row in group)), *answers]
        for group in groups.values()
        for site, answers in group[:1]
    ]
    headings = ("read by", "shape", "bytes", *(pass_.name.replace("-", "-\n") for pass_ in passes))
    taken = sum(
        max(len(line) for cell in column for line in cell.split("\n")) + 2
        for column in zip(headings, *cells, strict=True)
    )
    table = columns("weight", *headings, right=("shape", "bytes"))
    for group, row in zip(groups.values(), cells, strict=True):
        table.add_row(*map(Text, (text.wrap(_name(group, full), max(20, console.width - taken)), *row)))
    table.columns[0].no_wrap = True
    console.print(table)


def _kind(site: Site) -> str:
    dtype = "" if site.info.dtype == "float32" else f" {site.info.dtype}"
    return ", ".join(site.info.op_types) + dtype


def _name(group: Sequence[tuple[Site, list[str]]], full: bool) -> str:
    info, aliases = group[0][0].info, group[0][0].aliases
    name = info.name if full else text.known_as(info.name, info.users)
    if len(group) > 1:
        return f"{name} and {len(group) - 1} like it"
    tied = f" = {', '.join(aliases)}" if aliases else ""
    return name + tied + (f" by {', '.join(info.users)}" if full else "")


def _show_totals(inspection: Inspection, console: Console) -> None:
    facts = Facts(console)
    model = inspection.model
    total = sum(path.stat().st_size for path in model.files)
    facts.add("model", f"{model.path}, opset {model.opset}, {text.size(total)}")
    if model.opaque:
        facts.add("note", f"passed through as it is: {model.opaque}")
    tied = sum(bool(site.aliases) for site in inspection.sites)
    shared = f", {tied} stored more than once" if tied else ""
    earlier = None if inspection.sites else compressed_before(model)
    words = f"{len(inspection.sites)}, {text.size(inspection.nbytes)}{shared}" if inspection.sites else text.NO_WEIGHTS
    facts.add("weights", f"already compressed by regc ({earlier})" if earlier else words)
    rest = text.size(max(0, total - inspection.nbytes))
    facts.add("the rest", f"{rest}: biases, norms, other constants and the graph itself")
    for index, pass_ in enumerate(inspection.passes if inspection.sites else ()):
        facts.add(pass_.name, _outlook(inspection, index))
    facts.show()


def _outlook(inspection: Inspection, index: int) -> str:
    taken = [
        (s, a[index])
        for s, a in zip(inspection.sites, inspection.answers, strict=True)
        if isinstance(a[index], Preview)
    ]
    known = [
        (site.nbytes, answer.nbytes)
        for site, answer in taken
        if isinstance(answer, Preview) and answer.nbytes is not None
    ]
    words = f"{len(taken)} of {text.count(len(inspection.sites), 'weight')}"
    if not known:
        return words
    before, after = sum(pair[0] for pair in known), sum(pair[1] for pair in known)
    return f"{words}, {text.size(before)} -> {text.size(after)} ({text.ratio(before, after)} smaller)"
