from pathlib import Path

import pytest

from regc.compiler.errors import UsageError
from regc.compiler.verify.pairing import check_same_inputs
from support import model

from .models import save

HERE = "g (float[n,4] x, int64[n] i) => (float[n,4] y) { y = Identity(x) }"


@pytest.mark.parametrize(
    "text",
    [
        "g (int64[m] i, float[m,4] x) => (float[m,4] y) { y = Relu(x) }",  # other order, other names of sizes
        "g (float[2,4] x, int64[n] i) => (float[2,4] y) { y = Relu(x) }",
    ],
)
def test_models_that_take_the_same(text: str, tmp_path: Path) -> None:
    check_same_inputs(save(model(HERE), tmp_path / "a.onnx"), save(model(text), tmp_path / "b.onnx"))


@pytest.mark.parametrize(
    "text",
    [
        "g (float[n,4] z, int64[n] i) => (float[n,4] y) { y = Relu(z) }",
        "g (float[n,4] x) => (float[n,4] y) { y = Relu(x) }",
        "g (float[n,5] x, int64[n] i) => (float[n,5] y) { y = Relu(x) }",
        "g (float[n,4,1] x, int64[n] i) => (float[n,4,1] y) { y = Relu(x) }",
        "g (float16[n,4] x, int64[n] i) => (float16[n,4] y) { y = Relu(x) }",
    ],
)
def test_models_that_do_not(text: str, tmp_path: Path) -> None:
    first, second = save(model(HERE), tmp_path / "a.onnx"), save(model(text), tmp_path / "b.onnx")
    with pytest.raises(
        UsageError, match=r"b\.onnx: takes .* but .*a\.onnx takes x float \[n, 4\], i int64 \[n\]; give"
    ):
        check_same_inputs(first, second)
