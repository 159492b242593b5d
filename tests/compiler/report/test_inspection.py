import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from rich.console import Console

from regc.compiler import load
from regc.compiler.model import from_proto
from regc.compiler.passes import Pass
from regc.compiler.report.inspection import inspect_model, inspection_data, show_inspection
from regc.passes import RF8, Int, LowRank, Ternary
from support import model as bare

from .models import two
from .reports import words


def test_inspection_asks_every_pass_about_every_weight(tmp_path: Path) -> None:
    inspection = inspect_model(load(two(tmp_path / "m.onnx")), [LowRank(ratio=2), Ternary(exclude=("big*",)), RF8()])
    data = inspection_data(inspection)
    big, small = data["weights"]
    assert (big["name"], big["users"], big["shape"], big["bytes"]) == (
        "big_weight",
        ["/big/MatMul"],
        [128, 256],
        131072,
    )
    assert big["passes"]["low-rank"]["term"].startswith("rank ")
    assert big["passes"]["ternary"] == {"refused": 'excluded by "big*"'}
    assert big["passes"]["rf8"]["bytes"] < 131072 / 3
    assert "refused" in small["passes"]["low-rank"]
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show_inspection(inspection, console, full=True)
    out: Any = console.file
    printed = words(out.getvalue())
    assert "big_weight by /big/ MatMul" in printed or "big_weight by /big/MatMul" in printed
    assert 'excluded by "big*"' in printed
    assert "weights 2, 132 kB" in printed
    assert "ternary 1 of 2 weights" in printed


def test_inspection_shows_the_law_of_every_weight_when_asked(tmp_path: Path) -> None:
    model = load(two(tmp_path / "m.onnx"))
    assert [weight["law"] for weight in inspection_data(inspect_model(model, []))["weights"]] == [None, None]
    inspection = inspect_model(model, [], stats=True)
    for site, weight in zip(inspection.sites, inspection_data(inspection)["weights"], strict=True):
        values = site.load().values.astype(np.float64)
        standard = (values - values.mean()) / values.std()
        assert weight["law"]["kurtosis"] == pytest.approx((standard**4).mean(), rel=1e-5)
        assert weight["law"]["skewness"] == pytest.approx((standard**3).mean(), abs=1e-5)
        assert weight["law"]["peak"] == pytest.approx(np.abs(values).max())
        assert 0 < weight["law"]["int8_bits"] < 8
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show_inspection(inspection, console)
    out: Any = console.file
    printed = words(out.getvalue())
    assert "weight nu alpha bits skewness kurtosis" in printed
    assert f"{inspection_data(inspection)['weights'][0]['law']['nu']:.2f}" in printed
    assert "1.8 for a uniform law" in printed


def test_weights_without_a_law_have_dashes(tmp_path: Path) -> None:
    proto = onnx.load(two(tmp_path / "m.onnx"))
    values = numpy_helper.to_array(proto.graph.initializer[0]).copy()
    values[0, 0] = np.nan
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, proto.graph.initializer[0].name))
    inspection = inspect_model(from_proto(proto), [], stats=True)
    assert [weight["law"] is None for weight in inspection_data(inspection)["weights"]].count(True) == 1
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show_inspection(inspection, console)
    out: Any = console.file
    assert "- - - - -" in words(out.getvalue())


def test_a_table_of_many_passes_has_room_for_bytes_alone(tmp_path: Path) -> None:
    def row(*passes: Pass) -> str:
        console = Console(file=io.StringIO(), width=100, color_system=None)
        show_inspection(inspect_model(load(two(tmp_path / "m.onnx")), passes), console)
        out: Any = console.file
        return next(line for line in out.getvalue().splitlines() if "128x256" in line)

    few, many = row(LowRank(rank=8), RF8()), row(LowRank(rank=8), RF8(), Ternary(), Int())
    assert "rank 8" in few
    assert "rank 8" not in many
    assert many.count(" kB") == 5


def test_a_model_without_weights_has_nothing_to_say_of_passes(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    onnx.save(bare("g (float[3] x) => (float[3] y) { y = Relu(x) }"), tmp_path / "bare.onnx")
    show_inspection(inspect_model(load(tmp_path / "bare.onnx"), [RF8()]), console)
    out: Any = console.file
    assert "weights none that a pass could take" in words(out.getvalue())
    assert "rf8" not in out.getvalue()
