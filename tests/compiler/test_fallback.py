"""Fallback matmulnbits: ternary products whose bodies call ONNX Runtime's own operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper

from regc.compiler import compile_model
from regc.compiler.cli import main
from regc.compiler.errors import UsageError
from regc.compiler.target import target_of
from regc.passes import RF8, Ternary
from support import model, normal, op_types, own_nodes, run

PLAIN = "g (float[n,{k}] x) => (float[n,{n}] y) {{ y = MatMul(x, w) }}"
ENDED = "g (float[n,{k}] x) => (float[n,{n}] y) {{ p = MatMul(x, w) a = Add(p, b) y = Relu(a) }}"


def product(text: str, k: int, n: int, *, opset: int = 17) -> onnx.ModelProto:
    """A product with a weight ``[k, n]``, and a bias where the text has one."""
    bias = {"b": normal(n)} if "b)" in text else {}
    return model(text.format(k=k, n=n), opset=opset, w=normal(k, n), **bias)


@pytest.mark.parametrize("opset", [12, 13, 17, 18, 21])
@pytest.mark.parametrize(
    ("k", "n", "group", "block"),
    [(512, 384, 64, 64), (500, 333, 96, 32), (300, 401, None, 128), (1001, 130, 256, 128), (40, 640, None, 64)],
)
def test_without_our_library_the_results_are_those_of_matmulnbits(
    k: int, n: int, group: int | None, block: int, opset: int
) -> None:
    proto = product(ENDED, k, n, opset=opset)
    passes, x = [Ternary(group=group)], {"x": normal(9, k)}
    result = compile_model(proto, passes, fallback="matmulnbits")
    made = result.model.to_proto()
    onnx.checker.check_model(made, full_check=True)
    assert op_types(made) == ["ai.regc::TernaryMatMulRelu"]
    (node,) = own_nodes(made)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    assert attributes == {"N": n, "K": k, "block_size": block}
    stock = compile_model(proto, passes, target="stock").model.to_proto()
    assert "com.microsoft::MatMulNBits" in op_types(stock)
    np.testing.assert_array_equal(run(made, x)[0], run(stock, x)[0])


@pytest.mark.parametrize("text", [PLAIN, ENDED])
def test_with_our_library_nothing_changes(text: str) -> None:
    proto, x = product(text, 512, 384), {"x": normal(9, 512)}
    made, standard = (
        compile_model(proto, [Ternary(group=64)], fallback=fallback) for fallback in ("matmulnbits", "standard")
    )
    np.testing.assert_array_equal(*(run(result.model.to_proto(), x, library=True)[0] for result in (made, standard)))
    assert made.records == standard.records
    assert made.model.metadata["regc.fallback"] == "matmulnbits"
    assert "regc.fallback" not in standard.model.metadata


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": 48}, "blocks of 32, 64, 128, not of 48"),
        ({"act": "float32"}, "leave out act=float32"),
        ({"group": 40, "storage": "1.6bit"}, "leave out storage=1.6bit"),
    ],
)
def test_weights_that_it_is_slow_with_are_refused_with_the_reason(options: dict[str, Any], words: str) -> None:
    result = compile_model(product(PLAIN, 512, 384), [Ternary(**options)], fallback="matmulnbits")
    assert not result.changed
    assert "fallback matmulnbits: " in result.records[0].reason
    assert words in result.records[0].reason


def test_a_fallback_that_cannot_be_meant_is_refused() -> None:
    proto = product(PLAIN, 512, 384)
    with pytest.raises(UsageError, match="is for target cpu, not for stock"):
        compile_model(proto, [Ternary()], target="stock", fallback="matmulnbits")
    with pytest.raises(UsageError, match=r"no fallback 'matmulnbit'.*did you mean \"matmulnbits\""):
        target_of("cpu", "matmulnbit")
    with pytest.raises(UsageError, match="needs opset 12, the model has 11"):
        compile_model(product(PLAIN, 512, 384, opset=11), [Ternary()], fallback="matmulnbits")
    with pytest.raises(UsageError, match="no weight is multiplied by it"):
        compile_model(proto, [RF8()], fallback="matmulnbits")


def test_other_weights_keep_their_bodies() -> None:
    text = "g (float[n,512] x) => (float[n,384] y) { p = MatMul(x, v) y = MatMul(p, w) }"
    proto, x = model(text, v=normal(512, 512), w=normal(512, 384)), {"x": normal(9, 512)}
    passes = [Ternary(group=64, include=("v",)), RF8()]
    result = compile_model(proto, passes, fallback="matmulnbits").model.to_proto()
    imports = {f.name: {entry.domain for entry in f.opset_import} for f in result.functions}
    assert imports == {"TernaryMatMul": {"", "com.microsoft"}, "RF8MatMul": {""}}
    stock = compile_model(proto, passes, target="stock").model.to_proto()
    np.testing.assert_allclose(run(result, x)[0], run(stock, x)[0], rtol=1e-4, atol=1e-5)


def test_on_the_command_line(tmp_path: Path) -> None:
    onnx.save(product(PLAIN, 512, 384), tmp_path / "m.onnx")
    given = ["compile", str(tmp_path / "m.onnx"), "--passes", "ternary{group=64}", "--fallback"]
    outcome = CliRunner().invoke(main, [*given, "matmulnbits"])
    assert outcome.exit_code == 0, outcome.output
    assert op_types(onnx.load(tmp_path / "m.regc.onnx")) == ["ai.regc::TernaryMatMul"]
    outcome = CliRunner().invoke(main, [*given, "matmulnbit"])
    assert outcome.exit_code == 2
    assert 'did you mean "matmulnbits"?' in outcome.stderr
    outcome = CliRunner().invoke(main, [*given[:-1], "--target", "stok"])
    assert outcome.exit_code == 2
    assert 'did you mean "stock"?' in outcome.stderr
