from pathlib import Path

import numpy as np

from support import normal

from .invoking import compiled, regc


def test_statistics_are_written_and_used(path: Path) -> None:
    np.save(path.parent / "x.npy", normal(50, 256))
    outcome = regc("calibrate", path, path.parent / "x.npy", "--samples", 40, "--calibration-memory", "1.5MiB")
    assert outcome.exit_code == 0, outcome.output
    printed = " ".join(outcome.stdout.split())
    assert "m.stats.npz" in printed
    assert "2 with statistics" in printed
    assert "in 2 runs" in printed
    outcome = compiled(path, "--passes", "rf8", "--calibration", path.with_name("m.stats.npz"))
    assert outcome.exit_code == 0, outcome.output
    assert "output error" in outcome.stdout
    assert "statistics from" in outcome.stdout
    assert "measured on 4 random feeds" in outcome.stdout


def test_samples_that_were_not_drawn_verify(path: Path) -> None:
    np.save(path.parent / "x.npy", normal(50, 256))
    outcome = compiled(
        path, "--passes", "rf8{rounding=nearest}", "--calibration", path.parent / "x.npy", "--samples", 20
    )
    assert outcome.exit_code == 0, outcome.output
    printed = " ".join(outcome.stdout.split())
    assert "measured on 20 of 50 samples from" in printed
    assert "held out" in printed
    assert "not needed" in printed  # this rounding asks for nothing
