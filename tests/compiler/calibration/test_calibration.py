import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from regc.compiler import Calibration, UsageError, compile_model
from regc.compiler.calibration.store import Stored, is_statistics
from regc.compiler.calibration.writing import calibrate_model
from regc.compiler.errors import RegcError
from regc.compiler.model import load
from regc.compiler.sites import find_sites
from regc.compiler.statistics import Statistics
from support import model, normal

TEXT = """g (float[b,8] x, int64[b] i) => (float[b,5] y, float[b,7] e) {
    q = MatMul(x, wq)
    k = MatMul(x, wk)
    a = Add(q, k)
    y = MatMul(a, wo)
    e = Gather(table, i)
}"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    proto = model(TEXT, wq=normal(8, 6), wk=normal(8, 6, seed=1), wo=normal(6, 5), table=normal(9, 7))
    onnx.save(proto, tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", x=normal(50, 8), i=np.arange(50) % 9)
    return tmp_path / "m.onnx"


def written(path: Path) -> Path:
    output = path.with_name("s.npz")
    calibrate_model(path, Calibration(path.with_name("data.npz")), output, lambda progress: None)
    return output


def test_what_is_written_is_read_again(path: Path) -> None:
    done = calibrate_model(
        path, Calibration(path.with_name("data.npz"), samples=40), path.with_name("s.npz"), lambda progress: None
    )
    assert done.weights == 3
    assert list(done.reasons) == ["table"]
    assert done.words.startswith("40 of 50 samples from ")
    assert "2 tensors, up to 40 rows each" in done.words
    assert is_statistics(done.path)
    assert not is_statistics(path.with_name("data.npz"))
    stored = Stored(done.path)
    by_name = {site.info.name: stored.of(site) for site in find_sites(load(path))}
    first = by_name["wq"]
    assert isinstance(first, Statistics)
    assert first is by_name["wk"]
    assert first.gram is not None
    assert first.sample is not None
    rows = first.sample
    assert rows.shape == (40, 8)
    np.testing.assert_allclose(first.gram, rows.T @ rows / 40, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(first.mean, rows.mean(axis=0), atol=1e-6)
    assert first.count == 40
    assert "looks its rows up" in str(by_name["table"])


def test_statistics_of_another_model_are_refused(path: Path) -> None:
    output = written(path)
    other = path.with_name("other.onnx")
    onnx.save(model(TEXT, wq=normal(8, 6), wk=normal(8, 6), wo=normal(6, 5), table=normal(9, 7)), other)
    Stored(output).check(load(path))
    with pytest.raises(UsageError, match=r"s\.npz: holds statistics of .*m\.onnx .*make them again"):
        compile_model(other, "rf8", calibration=output)


def test_a_file_that_is_broken_or_newer(path: Path) -> None:
    output = written(path)
    with pytest.raises(UsageError, match="holds no statistics"):
        Stored(path.with_name("data.npz"))
    np.savez(output, **{"regc.statistics.json": np.zeros(1)})
    page = {"version": 2, "sha256": "", "model": "", "weights": {}}
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("regc.statistics.json", json.dumps(page))
    with pytest.raises(UsageError, match="is of version 2, not 1"):
        Stored(output)


@pytest.mark.parametrize("name", ["s.safetensors", "none/s.npz", "m.onnx"])
def test_places_that_statistics_cannot_go(path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        calibrate_model(path, Calibration(path.with_name("data.npz")), path.parent / name, lambda progress: None)


def test_statistics_are_no_inputs_to_gather_from(path: Path) -> None:
    with pytest.raises(UsageError, match="holds statistics already"):
        calibrate_model(path, Calibration(written(path)), path.with_name("t.npz"), lambda progress: None)


def test_a_model_without_weights(path: Path) -> None:
    onnx.save(model("g (float[b,8] x) => (float[b,8] y) { y = Neg(x) }"), path)
    with pytest.raises(RegcError, match="no weights"):
        calibrate_model(path, Calibration([{"x": normal(3, 8)}]), path.with_name("s.npz"), lambda progress: None)


@pytest.mark.parametrize("options", [{"samples": 3}, {"mask": "i"}])
def test_options_for_inputs_are_refused_with_statistics(path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(options))} does nothing with .*s.npz"):
        Calibration(written(path), **options)
