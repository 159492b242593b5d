"""One run from file to file, with what comes after the passes: write, verify, report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regc.compiler.compile import compile_model
from regc.compiler.errors import RegcError, UsageError
from regc.compiler.feeds.inputs import feed_files
from regc.compiler.inflows import MEMORY
from regc.compiler.model import Model, load
from regc.compiler.model.files import check_destination
from regc.compiler.records import Progress
from regc.compiler.recovery.options import Recover, require_torch
from regc.compiler.report import Report, check_report_path
from regc.compiler.spec import parse_passes
from regc.compiler.verify import RANDOM_FEEDS, Verification, verify_compiled

if TYPE_CHECKING:
    from regc.compiler.calibration import Calibration

DONE, FAILED, UNCHANGED, MISSED = 0, 1, 3, 4
"""Exit codes; 2 is a wrong use of the command line."""


@dataclass(frozen=True)
class Job:
    """What to compile, and where to.

    ``calibration`` and ``samples``, ``mask``, ``mix``, ``memory`` and ``sequential`` are those of
    :class:`regc.compiler.calibration.Calibration`; ``max_error`` and ``min_sqnr`` are tolerances on outputs.
    """

    model: Path
    output: Path
    passes: str
    target: str = "cpu"
    fallback: str = "standard"
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    calibration: Path | None = None
    samples: int | None = None
    mask: str | None = None
    memory: int = MEMORY
    sequential: bool | None = None
    verify: bool = True
    external_data: bool | None = None
    reports: Sequence[Path] = ()
    max_error: float | None = None
    min_sqnr: float | None = None
    seed: int = 0
    count: int = RANDOM_FEEDS
    threads: int | None = None
    recover: Recover | None = None
    mix: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a job ended: its report, the exit code, and last lines that say it in words (empty when all is
    well).
    """

    report: Report
    exit_code: int
    words: str


def run_job(job: Job, callback: Callable[[Progress], None]) -> Outcome:
    """Compile, write and verify; :func:`write_reports` does the rest. When nothing was changed nothing is written.

    From the stage "verify" on, ``job.output`` is there.

    Raises:
        UsageError: anything about the job that cannot be meant, found before the passes run wherever
            possible.
        RegcError: reading, compressing or writing failed.
    """
    model, calibration = _check(job)
    result = compile_model(
        model,
        job.passes,
        include=job.include,
        exclude=job.exclude,
        calibration=calibration,
        target=job.target,
        fallback=job.fallback,
        recover=job.recover,
        callback=callback,
    )
    report = result.report
    if result.changed:
        callback(Progress("save", 0, 1, job.output.name))
        saved = result.save(job.output, external_data=job.external_data)
        callback(Progress("verify", 0, 1, job.output.name))
        report = dataclasses.replace(report, output=str(job.output), nbytes_after=saved.nbytes)
        del result, model  # the graph and what it holds, before ONNX Runtime needs the memory
        report = _verified(job, report, calibration, callback) if job.verify else report
    return _outcome(job, report)


def write_reports(report: Report, paths: Sequence[Path]) -> None:
    """Write a report to all paths, also when one of them fails.

    Raises:
        RegcError: those that failed, and that the model is there all the same.
    """
    failures = []
    for path in paths:
        try:
            report.write(path)
        except RegcError as error:
            failures.append(str(error))
    if failures:
        kept = f"; the model itself is written, to {report.output}" if report.output else ""
        raise RegcError("; ".join(failures) + kept)


def _check(job: Job) -> tuple[Model, Calibration | None]:
    """Open the model and the calibration inputs, and refuse what is bound to fail later, before the long work."""
    parse_passes(job.passes)
    for path in job.reports:
        check_report_path(path)
    if job.recover is not None:
        require_torch()
        if job.calibration is None:
            raise UsageError("--recover trains on calibration inputs; give some by --calibration")
        if job.recover.checkpoint is not None:
            check_destination(job.recover.checkpoint, ())
    if not job.verify and (job.max_error is not None or job.min_sqnr is not None):
        raise UsageError("a tolerance on outputs needs the verification; leave out --no-verify")
    model = load(job.model)
    _check_places(job, model)
    return model, _calibration(job, model)


def _calibration(job: Job, model: Model) -> Calibration | None:
    """The calibration inputs, if there are any, that the options for them are for."""
    options = (job.samples, job.mask, job.sequential, job.mix)
    if job.calibration is None and options == (None,) * len(options):
        return None
    from regc.compiler.calibration.calibration import Calibration, given_options  # noqa: PLC0415 - slow to import

    if job.calibration is None:
        unused = given_options(*options)
        raise UsageError(f"{unused}: give calibration inputs by --calibration, or leave it out")
    calibration = Calibration(
        job.calibration,
        samples=job.samples,
        seed=job.seed,
        mask=job.mask,
        memory=job.memory,
        sequential=job.sequential,
        threads=job.threads,
        mix=job.mix,
    )
    calibration.check(model)
    return calibration


def _check_places(job: Job, model: Model) -> None:
    """Refuse to write over anything that is read, or twice to one place."""
    data = job.output.with_name(job.output.name + ".data")
    given = job.calibration
    feeds = [] if given is None or not given.exists() else feed_files(given) if given.is_dir() else [given]
    check_destination(job.output, model.files)
    check_destination(job.output, feeds, "a calibration file")
    if model.has_external_data if job.external_data is None else job.external_data:
        check_destination(data, model.files)
    for index, path in enumerate(job.reports):
        check_destination(path, model.files)
        check_destination(path, (job.output, data), "where the compressed model goes")
        check_destination(path, job.reports[:index], "where another report goes")


def _verified(
    job: Job, report: Report, calibration: Calibration | None, callback: Callable[[Progress], None]
) -> Report:
    check = verify_compiled(
        job.model,
        job.output,
        calibration.held_out() if calibration is not None else None,
        count=job.count,
        seed=job.seed,
        threads=job.threads,
        callback=lambda done, total, item: callback(Progress("verify", done, total, item)),
    )
    return dataclasses.replace(report, verification=check)


def _outcome(job: Job, report: Report) -> Outcome:
    if not (report.changed or report.removed or report.settled):
        return Outcome(report, UNCHANGED, "nothing was changed, so nothing was written")
    check = report.verification
    if check is None:
        return Outcome(report, DONE, "")
    code, words = _judged(job, check)
    return Outcome(report, code, "\n".join(filter(None, (check.doubts, words))))


def _judged(job: Job, check: Verification) -> tuple[int, str]:
    """The exit code, and the line that explains it."""
    if check.broken:
        return FAILED, f"{job.output} was written, but {check.broken}"
    uncompared = f"{job.output} was written and kept, but nothing was compared: {check.uncompared}"
    if check.original_fails:
        return FAILED, uncompared
    missed = check.missed(job.max_error, job.min_sqnr)
    if missed:
        return MISSED, f"{job.output} was written and kept, but misses a tolerance: {'; '.join(missed)}"
    return DONE, uncompared if check.uncompared else ""
