"""Statistics from model and inputs to file: what ``regc calibrate`` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from regc.compiler.calibration.calibration import Calibration
from regc.compiler.calibration.store import check_statistics_path, save_statistics
from regc.compiler.errors import RegcError, UsageError
from regc.compiler.model import load
from regc.compiler.records import Progress
from regc.compiler.sites import find_sites
from regc.compiler.statistics import Need

EVERYTHING: frozenset[Need] = frozenset({"moments", "gram", "quantiles"})


@dataclass(frozen=True)
class Calibrated:
    """What was written: the file and its bytes, how many weights have statistics, and why others have none."""

    path: Path
    nbytes: int
    weights: int
    reasons: dict[str, str]
    words: str


def calibrate_model(
    model: str | Path, calibration: Calibration, output: Path, callback: Callable[[Progress], None]
) -> Calibrated:
    """Write everything that a pass may want to know of what flows into the weights of a model.

    Raises:
        UsageError: inputs that do not fit, or a path that cannot be written to.
        RegcError: nothing flows into any weight, or reading, running or writing failed.
    """
    opened = load(model)
    check_statistics_path(output, opened)
    if calibration.feeds is None:
        raise UsageError(f"{calibration.data}: holds statistics already; give inputs")
    if opened.opaque:
        raise RegcError(f"{model}: has no weights that regc could compress, because {opened.opaque}")
    calibration.check(opened)
    wanted = [(site, EVERYTHING) for site in find_sites(opened) if site.refusal is None]
    if not wanted:
        raise RegcError(f"{model}: has no weights that regc could compress")
    calibration.sequential = False  # nothing is compressed on the way
    inflows = calibration.inflows(opened, wanted, callback)
    reasons = save_statistics(output, opened, wanted, inflows)
    return Calibrated(output, output.stat().st_size, len(wanted) - len(reasons), reasons, calibration.words)
