"""``regc compile``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regc.compiler.cli.options import DATA, FILE, Choice, gathering, measuring
from regc.compiler.cli.terminal import ProgressBar, printing

if TYPE_CHECKING:
    from regc.compiler.job import Job, Outcome
    from regc.compiler.recovery.options import Recover

_HELP = """Compress the weights of MODEL and write the result.

Every compile ends with a check in ONNX Runtime, with our operator library and without it, and with a table
of what was done and why not. MODEL is never changed.

\b
Exit codes:
  0  done
  1  failed, or what was written does not run, or MODEL itself does not run in ONNX Runtime
  2  wrong usage, or a file that is not there
  3  nothing was changed, and nothing was written
  4  written and kept, but an output misses --max-error or --min-sqnr
"""


@click.command("compile", help=_HELP)
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, help="File to write.  [default: MODEL with .regc.onnx in place of .onnx]")
@click.option(
    "--passes",
    required=True,
    metavar="TEXT",
    help='For example "low-rank{ratio=2},ternary{group=64},rf8"; see: regc passes.',
)
@click.option(
    "--target",
    type=Choice(["cpu", "cuda", "stock"]),
    default="cpu",
    help="Our operators, those of them that run on a GPU (where convolutions stay ONNX Runtime's, with weights decoded "
    "when the model is loaded), or only those that ONNX Runtime has already: MatMulNBits for ternary and int weights.",
    show_default=True,
)
@click.option(
    "--fallback",
    type=Choice(["standard", "matmulnbits"]),
    default="standard",
    help="What runs where our library is not loaded: standard operators, or MatMulNBits for ternary weights, which "
    "stay 2 bits in memory (ONNX Runtime loads that since 1.24, and is fast since 1.28).",
    show_default=True,
)
@click.option(
    "--include",
    multiple=True,
    metavar="SEL",
    help="Only weights that match: a glob on weight or node names, op:Conv, size:>=1M. Repeatable.",
)
@click.option("--exclude", multiple=True, metavar="SEL", help="No weights that match. Repeatable.")
@click.option(
    "--calibration",
    type=FILE,
    metavar="DATA",
    help=f"Inputs to fit weights to and to run both models on: {DATA}; or what regc calibrate wrote, to fit only.  "
    "[default: random inputs, to run both models on]",
)
@gathering
@click.option(
    "--sequential/--no-sequential",
    default=None,
    help="Whether weights make up for the errors of those before them; the inputs are run once for each layer.  "
    "[default: sequential]",
)
@click.option(
    "--recover",
    "budget",
    metavar="TIME",
    help="Train the compressed weights on the calibration inputs, with MODEL as teacher: 3min, 90s or 400steps; with "
    "other options, which are those of regc.compiler.Recover, 3min{mix=0.3,rate=0.01}. Needs PyTorch: pip install "
    '"regc[recover]".',
)
@click.option(
    "--recover-labels",
    "labels",
    type=FILE,
    help="Classes of the calibration inputs (.npy, integers, in their order): --recover weighs them against MODEL's.",
)
@click.option(
    "--recover-checkpoint",
    "checkpoint",
    type=FILE,
    help="File (.npz) that keeps the state of --recover now and then; the same command goes on from there.",
)
@measuring
@click.option("--verify/--no-verify", default=True, help="Whether to run both models at the end.", show_default=True)
@click.option(
    "--report",
    "reports",
    type=FILE,
    multiple=True,
    help="Also write the report, as .json or .html. Repeatable.",
)
@click.option(
    "--external-data/--single-file",
    default=None,
    help="Where weights go.  [default: as in MODEL; external above 1.5 GiB]",
)
@click.option("--full", is_flag=True, help="One row for each weight, and all names.")
@click.pass_context
def compile_command(
    ctx: click.Context,
    /,
    *,
    model: Path,
    output: Path | None,
    full: bool,
    budget: str | None,
    labels: Path | None,
    checkpoint: Path | None,
    **options: Any,
) -> None:
    """Compress the weights of MODEL and write the result."""
    from regc.compiler.job import Job, run_job  # noqa: PLC0415 - slow to import

    recover = _recover(budget, labels, checkpoint, options["seed"])
    job = Job(model=model, output=output or model.with_suffix(".regc.onnx"), recover=recover, **options)
    before, outcome = _identity(job.output), None
    try:
        with ProgressBar() as bar:
            outcome = run_job(job, bar)
        _tell(job, outcome, full)
    except KeyboardInterrupt:
        written = _identity(job.output) not in (None, before)
        raise KeyboardInterrupt(_what_is_there(job.output, written, outcome is not None)) from None
    ctx.exit(outcome.exit_code)


def _recover(budget: str | None, labels: Path | None, checkpoint: Path | None, seed: int) -> Recover | None:
    from regc.compiler.errors import UsageError  # noqa: PLC0415 - slow to import
    from regc.compiler.recovery.options import Recover  # noqa: PLC0415

    if budget is not None:
        return Recover.parse(budget, seed=seed, labels=labels, checkpoint=checkpoint)
    for option, given in (("--recover-checkpoint", checkpoint), ("--recover-labels", labels)):
        if given is not None:
            raise UsageError(f"{option} does nothing without --recover; give both")
    return None


def _tell(job: Job, outcome: Outcome, full: bool) -> None:
    """Table, words and reports; none of them waits for another to succeed."""
    from regc.compiler.job import write_reports  # noqa: PLC0415 - slow to import
    from regc.compiler.report.table import show_report  # noqa: PLC0415

    try:
        with printing() as console:
            show_report(outcome.report, console, full)
    finally:
        if outcome.words:
            click.echo(outcome.words, err=True)
        write_reports(outcome.report, job.reports)


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from the one that replaces it; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _what_is_there(output: Path, written: bool, done: bool) -> str:
    if not written:
        return "no model was written"
    return f"{output} is written, but {'perhaps not its reports' if done else 'not verified'}"
