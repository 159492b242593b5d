"""``regc calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from regc.compiler.cli.options import DATA, FILE, SAMPLES, SEED, THREADS, gathering
from regc.compiler.cli.terminal import ProgressBar, printing

_HELP = f"""Run MODEL on DATA, and write what flows into its weights to a file for regc compile --calibration.

DATA is {DATA}.
"""


@click.command("calibrate", short_help="Write down what flows into the weights of a model.", help=_HELP)
@click.argument("model", type=FILE)
@click.argument("data", type=FILE)
@click.option("-o", "--output", type=FILE, help="File to write.  [default: MODEL with .stats.npz in place of .onnx]")
@SAMPLES
@SEED
@THREADS
@gathering
def calibrate_command(model: Path, data: Path, output: Path | None, **options: Any) -> None:
    """Run MODEL on DATA and write what flows into its weights."""
    from regc.compiler.calibration import Calibration  # noqa: PLC0415 - slow to import
    from regc.compiler.calibration.writing import calibrate_model  # noqa: PLC0415
    from regc.compiler.report.calibrated import show_calibrated  # noqa: PLC0415

    output = output or model.with_suffix(".stats.npz")
    with ProgressBar() as bar:
        done = calibrate_model(model, Calibration(data, **options), output, bar)
    with printing() as console:
        show_calibrated(done, console)
