"""A recovery that was interrupted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from recovering import RESIDUAL, STEPS, WEIGHTS, compiled

from regc.compiler import Progress, UsageError
from regc.compiler.recovery import train
from support import model


def test_an_interrupted_run_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "_SAVE_EVERY", 0.0)
    proto, path, seen = model(RESIDUAL, **WEIGHTS), tmp_path / "state.npz", list[int]()
    options = dataclasses.replace(STEPS, checkpoint=path)

    def interrupt(progress: Progress) -> None:
        if progress.stage == "recover":
            seen.append(progress.done)
            if progress.done >= 500:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compiled(proto, recover=options, callback=interrupt)
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]
    first = len(seen)
    result = compiled(proto, recover=options, callback=lambda p: seen.append(p.done) if p.stage == "recover" else None)
    assert len(seen) - first == 48 - first
    assert result.recovered is not None and result.recovered.steps == 48
    assert result.recovered.after < result.recovered.before


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    path.write_text("no")
    with pytest.raises(UsageError, match="is no checkpoint of a recovery"):
        compiled(model(RESIDUAL, **WEIGHTS), recover=dataclasses.replace(STEPS, checkpoint=path))
