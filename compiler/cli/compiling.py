"""``regc compile``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from regc.compiler.cli.terminal import ProgressBar, console

FILE = click.Path(path_type=Path)

_HELP = """Compress the weights of MODEL and write the result.

Every compile ends with a check in ONNX Runtime, with our operator library and without it, and with a table
of what was done and why not. MODEL is never changed.

\b
Exit codes:
  0  done
  1  failed, or what was written does not run
  2  wrong usage
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
    "--include",
    multiple=True,
    metavar="SEL",
    help="Only weights that match: a glob on weight or node names, op:Conv, size:>=1M. Repeatable.",
)
@click.option("--exclude", multiple=True, metavar="SEL", help="No weights that match. Repeatable.")
@click.option(
    "--calibration",
    "feeds",
    type=FILE,
    metavar="FOLDER",
    help="Inputs to verify on: .npz files, one feed each.  [default: random inputs]",
)
@click.option("--verify/--no-verify", default=True, help="Whether to run both models at the end.", show_default=True)
@click.option(
    "--max-error",
    type=click.FloatRange(min=0),
    metavar="X",
    help="Tolerance: largest absolute error of any output.",
)
@click.option(
    "--min-sqnr",
    type=float,
    metavar="DB",
    help="Tolerance: least signal to quantization noise ratio of any output.",
)
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
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random inputs.")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Of ONNX Runtime in the verification.  [default: its own choice]",
)
@click.option("--full", is_flag=True, help="One row for each weight, and all names.")
@click.pass_context
def compile_command(ctx: click.Context, /, model: Path, output: Path | None, full: bool, **options: Any) -> None:
    """Compress the weights of MODEL and write the result."""
    from regc.compiler.job import Job, run_job  # noqa: PLC0415 - slow to import
    from regc.compiler.report.table import show_report  # noqa: PLC0415

    job = Job(model=model, output=output or model.with_suffix(".regc.onnx"), **options)
    with ProgressBar() as bar:
        try:
            outcome = run_job(job, bar)
        except KeyboardInterrupt:
            written = f"{job.output} is written, but not verified" if bar.stage == "verify" else "nothing was written"
            raise KeyboardInterrupt(written) from None
    show_report(outcome.report, console(), full)
    if outcome.words:
        click.echo(outcome.words, err=True)
    ctx.exit(outcome.exit_code)
