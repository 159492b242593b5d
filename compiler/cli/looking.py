"""The commands that write nothing: ``regc inspect``, ``passes``, ``verify`` and ``doctor``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from regc.compiler.cli.options import DATA, FILE, JSON, measuring
from regc.compiler.cli.terminal import ProgressBar, printing

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


@click.command("inspect", short_help="List weights, and what each pass would do with them.")
@click.argument("model", type=FILE)
@click.option("--passes", metavar="TEXT", help="Ask these passes.  [default: all, with their default options]")
@click.option("--full", is_flag=True, help="One row for each weight, with the names of all nodes that read it.")
@click.option("--stats", is_flag=True, help="Read the weights, and show the law that each follows.")
@JSON
def inspect_command(model: Path, passes: str | None, full: bool, stats: bool, as_json: bool) -> None:
    """List the weights of MODEL, and what each pass would do with them.

    Every pass is asked as if it were the only one, and from shapes alone: no weight is read unless --stats is given.
    """
    from regc.compiler import registry  # noqa: PLC0415 - slow to import
    from regc.compiler.model import load  # noqa: PLC0415
    from regc.compiler.report.inspection import inspect_model, inspection_data, show_inspection  # noqa: PLC0415
    from regc.compiler.spec import parse_passes  # noqa: PLC0415

    asked = parse_passes(passes) if passes else [pass_() for pass_ in registry.available().values()]
    inspection = inspect_model(load(model), asked, stats=stats)
    with printing() as console:
        if as_json:
            click.echo(json.dumps(inspection_data(inspection), indent=2))
        else:
            show_inspection(inspection, console, full)


@click.command("passes")
@click.argument("name", required=False)
def passes_command(name: str | None) -> None:
    """List the passes, or the options of the pass NAME."""
    from regc.compiler import registry  # noqa: PLC0415 - slow to import
    from regc.compiler.report.catalog import show_pass, show_passes  # noqa: PLC0415

    with printing() as console:
        if name is None:
            show_passes(registry.available(), console)
        else:
            show_pass(registry.get(name), console)


@click.command("verify", short_help="Compare the outputs of two models on the same inputs.")
@click.argument("original", type=FILE)
@click.argument("compressed", type=FILE)
@click.option(
    "--calibration", type=FILE, metavar="DATA", help=f"Inputs to run both models on: {DATA}.  [default: random inputs]"
)
@measuring
@click.option(
    "--provider",
    "--providers",
    "providers",
    multiple=True,
    default=("cpu",),
    show_default=True,
    callback=lambda _context, _option, names: [PROVIDERS.get(name, name) for name in names],
    help="Execution provider of ONNX Runtime: cpu, cuda, or the full name of another. Repeatable, the first one first. "
    "What of COMPRESSED does not run on the first is listed, and the copies that this takes.",
)
@JSON
@click.pass_context
def verify_command(
    ctx: click.Context,
    /,
    original: Path,
    compressed: Path,
    *,
    max_error: float | None,
    min_sqnr: float | None,
    as_json: bool,
    calibration: Path | None,
    samples: int | None,
    **options: Any,
) -> None:
    """Run ORIGINAL and COMPRESSED on the same inputs, and compare each output.

    Exits with 1 when COMPRESSED fails where ORIGINAL does not, or when nothing could be compared, with 4
    when a tolerance is missed.
    """
    from regc.compiler.feeds.sources import open_feeds  # noqa: PLC0415 - slow to import
    from regc.compiler.report.checks import show_verification  # noqa: PLC0415
    from regc.compiler.report.data import verification_data  # noqa: PLC0415
    from regc.compiler.verify import verify_compiled  # noqa: PLC0415
    from regc.compiler.verify.pairing import check_same_inputs  # noqa: PLC0415

    check_same_inputs(original, compressed)
    feeds = open_feeds(calibration, samples, options["seed"]) if calibration is not None else None
    with ProgressBar() as bar:
        check = verify_compiled(original, compressed, feeds, callback=bar.verifying, **options)
    with printing() as console:
        if as_json:
            click.echo(json.dumps(verification_data(check), indent=2))
        else:
            show_verification(check, console)
    code, words = check.verdict(max_error, min_sqnr)
    for line in filter(None, (check.doubts, words)):
        click.echo(line, err=True)
    ctx.exit(code)


@click.command("doctor", short_help="Check the installation.")
@click.pass_context
def doctor_command(ctx: click.Context) -> None:
    """Check the installation: versions, the operator library, and each kernel against its definition."""
    from regc.compiler.doctor import examine  # noqa: PLC0415 - slow to import
    from regc.compiler.report.health import show_findings  # noqa: PLC0415

    with printing() as console:
        code = show_findings(examine(), console)
    ctx.exit(code)
