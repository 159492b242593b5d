"""What a run did, weight by weight and in total: as a table, as JSON, and as one self-contained HTML page."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regc.compiler.errors import RegcError, UsageError
from regc.compiler.model.files import check_destination, write_text
from regc.runtime_ops.ops import DOMAIN

if TYPE_CHECKING:
    from regc.compiler.compile import CompileResult
    from regc.compiler.model import Model
    from regc.compiler.records import GateRecord, Recovered, SiteRecord, UnitsRecord
    from regc.compiler.verify import Verification

__all__ = ["Report", "check_report_path"]

WIDTH = 110
"""Columns of ``str(report)``."""


@dataclass(frozen=True)
class Report:
    """The record of one run. ``str()`` of it is the table.

    ``model`` and ``output`` are paths (None: not saved). ``nbytes_before`` and ``nbytes_after`` are of the
    files, external data included (None: not known). ``note`` says why the model as a whole was passed
    through, if so; ``earlier`` by which passes regc had compressed it before, if so. ``verification`` is None
    when nothing was verified. ``calibration`` tells with which inputs, and what they took, if with any. ``target`` is
    what the model was made for, ``fallback`` what it takes in place of our operators. ``recovered`` tells what training
    changed, if there was any. ``units`` are the sets of units that a pass could have removed some of, ``gates`` what a
    pass could have put constants in the place of.
    """

    model: str
    pipeline: str
    records: tuple[SiteRecord, ...]
    seconds: float
    nbytes_before: int | None = None
    nbytes_after: int | None = None
    output: str | None = None
    note: str | None = None
    earlier: str | None = None
    verification: Verification | None = None
    calibration: str | None = None
    target: str = "cpu"
    fallback: str = "standard"
    recovered: Recovered | None = None
    units: tuple[UnitsRecord, ...] = ()
    gates: tuple[GateRecord, ...] = ()

    @classmethod
    def of(cls, result: CompileResult) -> Report:
        """The report of a result that has not been saved or verified yet."""
        model = result.model
        return cls(
            model=str(model.path) if model.path else "a model in memory",
            pipeline=result.pipeline,
            records=tuple(result.records),
            seconds=result.seconds,
            nbytes_before=sum(path.stat().st_size for path in model.files) if model.path else None,
            note=model.opaque,
            earlier=None if result.changed else compressed_before(model),
            calibration=result.calibration,
            target=result.target,
            fallback=result.fallback,
            recovered=result.recovered,
            units=tuple(result.units),
            gates=tuple(result.gates),
        )

    @property
    def changed(self) -> Sequence[SiteRecord]:
        """The weights that were changed."""
        return [record for record in self.records if record.changed]

    @property
    def removed(self) -> Sequence[UnitsRecord]:
        """The sets of units that were made smaller."""
        return [record for record in self.units if record.changed]

    @property
    def settled(self) -> Sequence[GateRecord]:
        """The gates that became constants."""
        return [record for record in self.gates if record.changed]

    @property
    def weights(self) -> tuple[int, int]:
        """Bytes of all weights, before and after; what was removed with units and behind gates counts before."""
        removed = sum(r.nbytes_before - r.nbytes_after for r in self.units) + sum(r.nbytes for r in self.gates)
        return removed + sum(r.nbytes_before for r in self.records), sum(r.nbytes_after for r in self.records)

    def write(self, path: str | Path) -> None:
        """Write the report in the format of the suffix, ``.json`` or ``.html``.

        Raises:
            UsageError: another suffix, or a place that cannot be written to.
            RegcError: the file cannot be written; one that was there before is as it was.
        """
        check_report_path(path)
        text = self.to_json() if Path(path).suffix == ".json" else self.to_html()
        try:
            write_text(Path(path), text)
        except OSError as error:
            raise RegcError(f"cannot write the report to {path}: {error.strerror}") from error

    def to_json(self) -> str:
        """All figures as JSON; infinities are the strings ``"inf"`` and ``"-inf"``, what is not known is
        null.
        """
        from regc.compiler.report.data import report_data  # noqa: PLC0415

        return json.dumps(report_data(self), indent=2, ensure_ascii=False) + "\n"

    def to_html(self) -> str:
        """The same as one page that needs nothing else."""
        from regc.compiler.report.page import page  # noqa: PLC0415

        return page(self)

    def __str__(self) -> str:
        from rich.console import Console  # noqa: PLC0415 - not needed to compile, and slow to import

        from regc.compiler.report.table import show_report  # noqa: PLC0415

        text = io.StringIO()
        show_report(self, Console(file=text, width=WIDTH, color_system=None, force_terminal=False))
        return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())


def check_report_path(path: str | Path) -> None:
    """Require a suffix that tells a format and a place that can be written to, before any work is done.

    Raises:
        UsageError: it is neither ``.json`` nor ``.html``, or see :func:`regc.compiler.model.files.check_destination`.
    """
    if Path(path).suffix not in (".json", ".html"):
        raise UsageError(f"{path}: a report is .json or .html")
    check_destination(Path(path), ())


def compressed_before(model: Model) -> str | None:
    """The passes by which regc compressed a model earlier, as far as it tells; None when it has no operator of ours."""
    ours = {function.name for function in model.graph.functions if function.domain == DOMAIN}
    return model.metadata.get("regc.passes", ", ".join(sorted(ours))) if ours else None
