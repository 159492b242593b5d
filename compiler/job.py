"""One run from file to file, with what comes after the passes: write, verify, report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from regc.compiler.compile import compile_model
from regc.compiler.errors import UsageError
from regc.compiler.model import Model, load
from regc.compiler.model.files import check_destination
from regc.compiler.records import Progress
from regc.compiler.report import Report, check_report_path
from regc.compiler.spec import parse_passes
from regc.compiler.verify import RANDOM_FEEDS, verify_compiled
from regc.compiler.verify.feeds import feed_files, inputs_of_model, load_feeds

DONE, FAILED, UNCHANGED, MISSED = 0, 1, 3, 4
"""Exit codes; 2 is a wrong use of the command line."""


@dataclass(frozen=True)
class Job:
    """What to compile, and where to. ``feeds`` is a folder of ``.npz`` files; ``max_error`` and ``min_sqnr``
    are tolerances on outputs.
    """

    model: Path
    output: Path
    passes: str
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    feeds: Path | None = None
    verify: bool = True
    external_data: bool | None = None
    reports: Sequence[Path] = ()
    max_error: float | None = None
    min_sqnr: float | None = None
    seed: int = 0
    count: int = RANDOM_FEEDS
    threads: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a job ended: its report, the exit code, and a last line that says it in words (empty when all is
    well).
    """

    report: Report
    exit_code: int
    words: str


def run_job(job: Job, callback: Callable[[Progress], None]) -> Outcome:
    """Compile, write, verify and report. When nothing was changed nothing is written but the reports.

    Raises:
        UsageError: anything about the job that cannot be meant, found before the passes run wherever
            possible.
        RegcError: reading, compressing or writing failed.
    """
    model = _check(job)
    result = compile_model(model, job.passes, include=job.include, exclude=job.exclude, callback=callback)
    report = result.report
    if result.changed:
        callback(Progress("save", 0, 1, job.output.name))
        saved = result.save(job.output, external_data=job.external_data)
        callback(Progress("save", 1, 1, job.output.name))
        report = dataclasses.replace(report, output=str(job.output), nbytes_after=saved.nbytes)
        del result, model  # the graph and what it holds, before ONNX Runtime needs the memory
        report = _verified(job, report, callback) if job.verify else report
    outcome = _outcome(job, report)
    for path in job.reports:
        report.write(path)
    return outcome


def _check(job: Job) -> Model:
    """Open the model and refuse what is bound to fail later, before the long work."""
    parse_passes(job.passes)
    for path in job.reports:
        check_report_path(path)
    if not job.verify and (job.max_error is not None or job.min_sqnr is not None):
        raise UsageError("a tolerance on outputs needs the verification; leave out --no-verify")
    model = load(job.model)
    check_destination(job.output, model.files)
    if job.feeds is not None:
        feed_files(job.feeds)
        inputs = [] if model.opaque else inputs_of_model(model)
        if len(inputs) == len(model.graph.inputs) and inputs:
            next(load_feeds(job.feeds, inputs))
    return model


def _verified(job: Job, report: Report, callback: Callable[[Progress], None]) -> Report:
    check = verify_compiled(
        job.model,
        job.output,
        job.feeds,
        count=job.count,
        seed=job.seed,
        threads=job.threads,
        callback=lambda done, total, item: callback(Progress("verify", done, total, item)),
    )
    return dataclasses.replace(report, verification=check)


def _outcome(job: Job, report: Report) -> Outcome:
    if not report.changed:
        return Outcome(report, UNCHANGED, "nothing was changed, so nothing was written")
    check = report.verification
    if check is not None and check.broken:
        return Outcome(report, FAILED, f"{job.output} was written, but {check.broken}")
    missed = check.missed(job.max_error, job.min_sqnr) if check is not None else []
    if missed:
        return Outcome(
            report, MISSED, f"{job.output} was written and kept, but misses a tolerance: {'; '.join(missed)}"
        )
    return Outcome(report, DONE, "")
