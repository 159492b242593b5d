"""Times of products, measured once for each shape; what they are is no matter here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from regc.compiler.errors import UsageError
from regc.compiler.passes import Preview, Refusal, SiteInfo
from regc.passes import LowRank
from regc.passes.low_rank import measured
from regc.passes.low_rank.measured import cache_file, measured_share

MakeSite = Callable[..., SiteInfo]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_a_shape_is_timed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measured_share((48, 64), 16, 4)
    assert first is not None and first > 0
    assert cache_file() == folder / "regc" / "products.json"
    (key,) = json.loads(cache_file().read_text("utf-8"))
    assert "onnxruntime" in key and key.endswith("|48x64|rank 16|4 rows")
    monkeypatch.setattr(measured, "_timed", lambda shape, rank, rows: 7.0)
    assert measured_share((48, 64), 16, 4) == first
    assert [measured_share(*other) for other in (((48, 64), 8, 4), ((64, 48), 16, 4), ((48, 64), 16, 5))] == [7.0] * 3
    assert len(json.loads(cache_file().read_text("utf-8"))) == 4


@pytest.mark.parametrize("spoiled", ["", "[1, 2]", '{"a": "b"}', '{"a": null}'])
def test_a_file_that_says_nothing_is_written_anew(spoiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "_timed", lambda shape, rank, rows: 0.5)
    cache_file().parent.mkdir()
    cache_file().write_text(spoiled, "utf-8")
    assert measured_share((48, 64), 16, 4) == 0.5
    assert list(json.loads(cache_file().read_text("utf-8")).values()) == [0.5]


def test_a_folder_that_cannot_be_written_to_is_no_obstacle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "_timed", lambda shape, rank, rows: 0.5)
    (folder / "regc").write_text("a file", "utf-8")
    assert measured_share((48, 64), 16, 4) == 0.5


def test_weights_that_are_too_large_go_by_the_formula(site: MakeSite) -> None:
    shape = (1 << 15, 1 << 15)
    assert measured_share(shape, 16, 1) is None
    assert isinstance(LowRank(rank=16, pays="measured").preview(shape, site(shape)), Preview)
    assert not cache_file().exists()


@pytest.mark.parametrize(("time", "pays"), [(0.5, True), (0.9, True), (0.91, False)])
def test_what_is_measured_decides(site: MakeSite, time: float, pays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "_timed", lambda shape, rank, rows: time)
    answer = LowRank(rank=100, pays="measured").preview((512, 512), site((512, 512)))
    assert isinstance(answer, Preview) == pays
    if isinstance(answer, Refusal):
        assert "two products take about 0.91 times as long as one" in answer.reason
    assert isinstance(LowRank(rank=100, pays="measured", force=True).preview((512, 512), site((512, 512))), Preview)


def test_by_default_nothing_is_timed(site: MakeSite) -> None:
    LowRank(rank=100).preview((512, 512), site((512, 512)))
    assert not cache_file().exists()
    with pytest.raises(UsageError, match="pays must be formula or measured"):
        LowRank(pays="guessed")  # type: ignore[arg-type]
