"""Calibration text in which some words are others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest

from regc.compiler import compile_model
from regc.compiler.calibration import Calibration
from regc.compiler.errors import UsageError
from regc.compiler.feeds.inputs import inputs_of_model
from regc.compiler.feeds.mixing import Mixed, tables_of
from regc.compiler.feeds.sources import open_feeds
from regc.compiler.model import from_proto
from tests.support import Array, model, normal, run

TEXT = """g (int64[n, s] ids) => (float[n, s, 4] y) {
    e = Gather (table, ids)
    a = MatMul (e, up_w)
    r = Relu (a)
    y = MatMul (r, down_w)
}"""


def network() -> onnx.ModelProto:
    return model(TEXT, table=normal(300, 8), up_w=normal(8, 32), down_w=normal(32, 4))


def sentences(count: int = 6) -> Iterator[dict[str, Array]]:
    """Of few words, between marks 1 and 2 and with padding of 0."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        ids = rng.integers(3, 20, (8, 10))
        ids[:, 0], ids[:, 7], ids[:, 8:] = 1, 2, 0
        yield {"ids": ids}


def test_each_feed_comes_again_with_other_words_between_the_same_marks() -> None:
    opened = from_proto(network())
    assert tables_of(opened.graph) == {"ids": 300}
    mixed = Mixed.by(open_feeds(list(sentences())), opened.graph, 0.5)
    found, again = (list(mixed.of(inputs_of_model(opened))) for _ in range(2))
    assert (len(found), mixed.count(inputs_of_model(opened))) == (12, 12)
    assert mixed.words == "6 feeds given, and the same with 50% of the words replaced"
    for plain, other, same in zip(found[::2], found[1::2], again[1::2], strict=True):
        kept = plain["ids"] == other["ids"]
        assert kept[:, [0, 7, 8, 9]].all()
        assert 0.3 < kept[:, 1:7].mean() < 0.7
        assert other["ids"].max() >= 20
        assert other["ids"].dtype == plain["ids"].dtype
        np.testing.assert_array_equal(other["ids"], same["ids"])


def test_a_feed_of_one_sentence_keeps_its_first_word() -> None:
    feeds = [{"ids": np.arange(20)[None]}]
    opened = from_proto(network())
    found = list(Mixed.by(open_feeds(feeds), opened.graph, 1.0).of(inputs_of_model(opened)))[1]["ids"]
    assert found[0, 0] == 0
    assert (found[0, 1:] != np.arange(1, 20)).mean() > 0.9


def test_units_are_kept_for_words_that_calibration_does_not_have() -> None:
    proto, others = network(), {"ids": np.arange(60, 300).reshape(8, 30)}
    wanted = run(proto, others)[0]
    errors = []
    for mix in (None, 0.5):
        result = compile_model(proto, "neuron-mask{keep=0.4}", calibration=Calibration(list(sentences()), mix=mix))
        errors.append(float(np.linalg.norm(run(result.model.to_proto(), others)[0] - wanted)))
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_shares_that_cannot_be_meant(share: float) -> None:
    with pytest.raises(UsageError, match="--mix is a share of the words"):
        Calibration(list(sentences()), mix=share)


def test_a_model_without_words() -> None:
    proto = model("g (float[n, 8] x) => (float[n, 4] y) { y = MatMul (x, w) }", w=normal(8, 4))
    given = Calibration([{"x": normal(2, 8)}], mix=0.5)
    with pytest.raises(UsageError, match="leave --mix out"):
        compile_model(proto, "low-rank{rank=1}", calibration=given)
