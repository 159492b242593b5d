from pathlib import Path

import numpy as np
import onnx
import pytest

from regc.compiler.errors import RegcError
from regc.compiler.model import load
from regc.compiler.verify.guess import index_bounds, random_feeds
from support import model, normal

from .models import TOKENS, save, session


def test_names_and_the_graph_shape_random_feeds(tmp_path: Path) -> None:
    path = save(model(TOKENS, table=normal(50, 6)), tmp_path / "m.onnx")
    bounds = index_bounds(load(path).graph)
    assert bounds == {"ids": 50}
    feeds = random_feeds(session(path), 3, seed=1, bounds=bounds)
    assert len(feeds) == 3
    for feed in feeds:
        assert feed["ids"].shape == feed["attention_mask"].shape == (2, 8)
        assert feed["state"].shape == (2, 2, 3)
        assert (feed["attention_mask"] == 1).all()
    assert 8 < max(feed["ids"].max() for feed in feeds) < 50
    assert not np.array_equal(feeds[0]["ids"], feeds[1]["ids"])
    again = random_feeds(session(path), 3, seed=1, bounds=bounds)
    assert all(np.array_equal(a[name], b[name]) for a, b in zip(feeds, again, strict=True) for name in a)


def test_indices_stay_small_when_the_graph_does_not_tell_their_bound(tmp_path: Path) -> None:
    text = "g (int64[n] ids) => (float[n,6] y) { copy = Neg(table)  y = Gather(copy, ids) }"
    path = save(model(text, table=normal(3, 6)), tmp_path / "m.onnx")
    assert random_feeds(session(path), 1, 0)[0]["ids"].max() < 3


def test_lengths_and_sample_rates_are_tried_until_the_model_runs(tmp_path: Path) -> None:
    text = """g (float[n,samples] input, int64 sr) => (float[n,2,k] y) {
        shape = Constant<value_ints=[0,2,-1]>()
        whole = Constant<value_ints=[0,256]>()
        even = Reshape(input, whole)
        flat = Reshape(even, shape)
        rate = Cast<to=1>(sr)
        y = Div(flat, rate)
    }"""
    path = save(model(text), tmp_path / "m.onnx")
    feed = random_feeds(session(path), 1, 0)[0]
    assert feed["input"].shape == (2, 256)
    assert feed["sr"] == 16000


def test_a_cache_starts_empty_and_sums_of_dimensions_add_up(tmp_path: Path) -> None:
    text = """g (float[batch,sequence_length,4] x, float[batch,past_length,4] past, int64[batch,total] mask)
            => (float[batch,t,4] y, int64[batch,u] m) {
        y = Concat<axis=1>(past, x)
        m = Identity(mask)
    }"""
    path = save(model(text), tmp_path / "m.onnx")
    proto = onnx.load(path)
    proto.graph.input[2].type.tensor_type.shape.dim[1].dim_param = "past_length + sequence_length"
    onnx.save(proto, path)
    feed = random_feeds(session(path), 1, 0)[0]
    assert feed["past"].shape == (2, 0, 4)
    assert feed["mask"].shape == (2, 8)


@pytest.mark.parametrize("kind", ["float16", "double", "bool", "uint8", "int8", "int32", "string"])
def test_every_element_type_is_fed(tmp_path: Path, kind: str) -> None:
    path = save(model(f"g ({kind}[n,3] x) => ({kind}[n,3] y) {{ y = Identity(x) }}"), tmp_path / "m.onnx")
    feed = random_feeds(session(path), 1, 0)[0]
    assert feed["x"].shape == (2, 3)
    if kind in ("uint8", "int8"):
        assert np.ptp(feed["x"].astype(int)) > 8


def test_a_type_that_cannot_be_fed_is_named(tmp_path: Path) -> None:
    path = save(model("g (bfloat16[3] x) => (float[3] y) { y = Cast<to=1>(x) }"), tmp_path / "m.onnx")
    with pytest.raises(RegcError, match=r"its input x bfloat16 \[3\] has a type that cannot be fed"):
        random_feeds(session(path), 1, 0)


def test_no_feed_that_runs_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    text = "g (float[n,k] x) => (float[n,4] y) { y = MatMul(x, w) }"
    path = save(model(text, w=normal(77, 4)), tmp_path / "m.onnx")
    with pytest.raises(RegcError, match="MatMul"):
        random_feeds(session(path), 1, 0)
