"""Texts that a language model writes itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from regc.compiler import Calibration, RegcError, UsageError, compile_model
from regc.compiler.feeds import generated
from regc.compiler.feeds.inputs import Feed, inputs_of_model
from regc.compiler.model import from_proto
from support import Array, model, normal

BIGRAMS = """g (int64[n, s] tokens) => (float[n, s, 6] logits) {
    a = Gather (table, tokens)
    logits = MatMul (a, w)
}"""
CACHED = """g (int64[n, s] input_ids, int64[n, t] attention_mask, int64[n, s] position_ids,
           float[n, 2, p, 4] past_key) => (float[n, s, 6] logits, float[n, 2, q, 4] present_key) {
    a = Gather (table, input_ids)
    m = Cast <to = 1> (attention_mask)
    i = Cast <to = 1> (position_ids)
    j = Mul (m, i)
    k = Unsqueeze (j, last)
    b = Sub (a, k)
    c = Add (b, k)
    logits = MatMul (c, w)
    present_key = Identity (past_key)
}"""
WEIGHTS: dict[str, Array] = {
    "table": np.eye(6, 48, dtype=np.float32),
    "w": np.pad(np.roll(np.eye(6, dtype=np.float32) * 40, 1, axis=1), ((0, 42), (0, 0))),
}
"""After token t comes token t + 1."""


def texts(proto: onnx.ModelProto, given: str, count: int = 11) -> list[Feed]:
    opened, calibration = from_proto(proto), Calibration(given, samples=count)
    calibration.check(opened)
    assert calibration.feeds is not None
    return list(calibration.feeds.of(inputs_of_model(opened)))


@pytest.mark.parametrize("cached", [False, True])
def test_texts_follow_what_the_model_predicts(cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "LENGTH", 9)
    last = {"last": np.array([-1])} if cached else {}
    feeds = texts(model(CACHED if cached else BIGRAMS, **WEIGHTS, **last), "generated")
    name = "input_ids" if cached else "tokens"
    ids = np.concatenate([feed[name] for feed in feeds])
    assert ids.shape == (11, 9)
    assert (np.diff(ids, axis=1) % 6 == 1).all()
    assert len(set(ids[:, 0])) > 2
    if cached:
        assert feeds[0]["past_key"].shape == (8, 2, 0, 4) and feeds[0]["attention_mask"].all()
        assert (feeds[0]["position_ids"] == np.arange(9)).all()


def test_texts_may_begin_with_a_token_and_are_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "LENGTH", 12)
    proto = model(BIGRAMS, table=normal(6, 48), w=normal(48, 6) / 9)
    first, second = (np.concatenate([f["tokens"] for f in texts(proto, "generated:4")]) for _ in range(2))
    assert (first[:, 0] == 4).all() and (first == second).all()
    assert len(set(first.reshape(-1))) == 6
    with pytest.raises(UsageError, match="tokens 0 to 5"):
        texts(proto, "generated:6")


def test_a_model_that_takes_no_longer_texts_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "LENGTH", 9)
    proto = model(
        """g (int64[n, s] tokens) => (float[n, s, 6] logits) {
        shape = Shape <start = 1> (tokens)
        size = Squeeze (shape)
        row = Gather (places, size)
        a = Gather (table, tokens)
        b = Add (a, row)
        logits = MatMul (b, w)
    }""",
        **WEIGHTS,
        places=np.zeros((5, 48), np.float32),
    )
    with pytest.raises(RegcError, match="cannot write a text of 6 tokens"):
        texts(proto, "generated")


def test_what_is_no_language_model_cannot_write() -> None:
    proto = model("g (float[n, 48] x) => (float[n, 6] y) { y = MatMul (x, w) }", w=WEIGHTS["w"])
    with pytest.raises(UsageError, match="no language model"):
        compile_model(proto, "rf8", calibration="generated")


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generated").mkdir()
    np.savez(tmp_path / "generated" / "a.npz", tokens=np.zeros((1, 3), np.int64))
    assert [f["tokens"].shape for f in texts(model(BIGRAMS, **WEIGHTS), "generated")] == [(1, 3)]
