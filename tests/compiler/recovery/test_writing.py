"""Texts that a student goes on with."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from regc.compiler import Recover, UsageError, compile_model
from regc.compiler.model import from_proto as load_proto
from regc.compiler.recovery.network import Network
from regc.compiler.recovery.options import RATE, WORDS_RATE
from regc.compiler.recovery.writing import WRITTEN, Writing
from support import Array, model, normal

TEXT = """g (int64[n, s] ids) => (float[n, s, 256] logits) {
    a = Gather (table, ids)
    b = MatMul (a, w1)
    c = Relu (b)
    logits = MatMul (c, w2)
}"""
WEIGHTS: dict[str, Array] = {
    "table": normal(256, 32) * 5, "w1": normal(32, 64, seed=1), "w2": normal(64, 256, seed=2) * 30
}  # fmt: skip
IDS = np.random.default_rng(0).integers(0, 256, (40, 20))


def language_model() -> onnx.ModelProto:
    return model(TEXT, **WEIGHTS)


def test_what_the_student_writes_is_what_it_predicts() -> None:
    opened = load_proto(language_model())
    network = Network(opened.graph, opened.opset, opened.graph.outputs)
    writing = Writing.of({"ids": 256}, 0.5)
    inputs = {"ids": torch.from_numpy(IDS)}
    assert torch.equal(writing.mixed(inputs, np.random.default_rng(3))["ids"], inputs["ids"])
    writing.student = network
    found = writing.mixed(inputs, np.random.default_rng(3))["ids"]
    changed = found != inputs["ids"]
    assert 0.2 < changed.any(1).float().mean() < 0.8
    assert 0 < changed.any(0).sum() <= WRITTEN and not changed[:, 0].any()
    chances = network.run({"ids": found})[0].log_softmax(-1)[:, :-1].gather(2, found[:, 1:, None])[..., 0]
    assert chances[changed[:, 1:]].mean() > chances[~changed[:, 1:]].mean() + 1


def test_a_language_model_recovers_on_its_own_texts() -> None:
    options = Recover(steps=40, batch=16, rate=0.012, on_policy=0.5)
    passes = "ternary{group=16,method=lloyd,include=op:MatMul}"
    result = compile_model(language_model(), passes, calibration=[{"ids": IDS}], recover=options)
    assert result.recovered is not None and result.recovered.after < 0.9 * result.recovered.before


def test_what_predicts_words_takes_longer_steps() -> None:
    def curve(proto: onnx.ModelProto, rate: float | None) -> tuple[float, ...]:
        options, passes = Recover(steps=4, rate=rate), "ternary{group=16,method=lloyd,include=op:MatMul}"
        result = compile_model(proto, passes, calibration=[{"ids": IDS}], recover=options)
        assert result.recovered is not None
        return result.recovered.curve

    assert curve(language_model(), None) == curve(language_model(), WORDS_RATE) != curve(language_model(), RATE)
    classes = model(TEXT.replace("256] logits", "16] logits"), **WEIGHTS | {"w2": normal(64, 16, seed=2)})
    assert curve(classes, None) == curve(classes, RATE) != curve(classes, WORDS_RATE)


@pytest.mark.parametrize("rows", [{}, {"ids": 256, "kinds": 300}])
def test_other_models_do_not_write(rows: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="leave on_policy out"):
        Writing.of(rows, 0.5)


def test_without_logits_nothing_is_written() -> None:
    class Silent:
        def run(self, inputs: Any) -> list[torch.Tensor]:
            return [torch.zeros(1)]

    writing = Writing("ids", 256, 1.0, Silent())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs logits"):
        writing.mixed({"ids": torch.from_numpy(IDS)}, np.random.default_rng(0))
