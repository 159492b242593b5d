from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
from rich.console import Console

from regc.compiler import SiteInfo
from regc.compiler.filters import Activity
from regc.compiler.records import SiteRecord, Speed
from regc.compiler.report import Report
from regc.compiler.report.activity import activity_rows, sparkline
from regc.compiler.report.summary import in_rows
from regc.compiler.report.table import show_report

ACTIVITY = Activity(0.35, (0, 0, 0.25, 0.5, 0.25, 0, 0, 0, 0, 0))


def skipping(name: str, *activities: Activity) -> SiteRecord:
    info = SiteInfo(name, ("MatMul",), (f"/{name}/MatMul",), (64, 100), np.dtype(np.float32), True, True)
    record = SiteRecord(info, "float32", "65% skipped", info.nbytes, info.nbytes, 0.0, "ai.regc::GatedMatMul", ())
    predicted = 1.5 if activities == (ACTIVITY,) else None
    return dataclasses.replace(record, output_error=0.125, activities=activities, speed=Speed(predicted, 2.04))


def report(*records: SiteRecord) -> Report:
    return Report("model.onnx", "neuron-mask", records, 1.5, calibration="feeds")


def test_a_sparkline_has_a_bar_for_every_bin() -> None:
    assert sparkline(ACTIVITY.histogram) == "  ▄█▄     "
    assert sparkline((0.001, 0.999)) == "▁█"
    assert sparkline((0.0, 0.0)) == "  "


def test_weights_that_are_alike_share_a_row() -> None:
    records = [skipping(f"w{index}", Activity(index / 40, (1.0,) + (0.0,) * 9)) for index in range(40)]
    (row,) = activity_rows(records, in_rows(records))
    assert row.name == "w0 and 39 like it"
    assert row.share == 19.5 / 40
    assert row.histogram[0] == 1
    assert (row.predicted, row.measured) == ("-", "2x")


def test_factors_have_rows_of_their_own() -> None:
    rows = list(activity_rows([], [[skipping("w", ACTIVITY, ACTIVITY)]]))
    assert [row.name for row in rows] == ["w, factor 1", "w, factor 2"]
    assert (rows[0].reading, rows[0].predicted, rows[0].measured) == ("-", "-", "2x")


def test_the_table_the_page_and_json_tell_how_many_inputs_are_used() -> None:
    found = report(skipping("w", ACTIVITY))
    printed = io.StringIO()
    show_report(found, Console(file=printed, width=110, color_system=None))
    line = next(line for line in printed.getvalue().splitlines() if "▄█▄" in line)
    assert line.split()[:2] == ["w", "35%"]
    assert line.split()[-4:] == ["0.125", "2.9x", "1.5x", "2x"]
    page = found.to_html()
    assert "<h2>Inputs used</h2>" in page
    assert page.count('<i class="now" style="height:') == 10
    assert 'style="height:100%"' in page
    data = json.loads(found.to_json())
    assert data["weights"][0]["inputs_used"] == [{"share": 0.35, "rows_by_tenths": list(ACTIVITY.histogram)}]
    assert data["weights"][0]["speed"] == {"predicted": 1.5, "measured": 2.04}


def test_nothing_is_told_where_nothing_is_skipped() -> None:
    found = report(skipping("w"))
    assert "Inputs used" not in found.to_html()
    assert "reads less" not in str(found)
