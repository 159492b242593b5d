"""Words that calibration inputs lack."""

from __future__ import annotations

import numpy as np
import torch
from recovering import WEIGHTS

from regc.compiler import Recover, compile_model
from regc.compiler.model import from_proto as load_proto
from regc.compiler.recovery.tokens import Tokens
from support import model, normal, run


def test_words_are_mixed_where_inputs_are_words() -> None:
    text = """g (int64[n, s] ids, int64[n, s] kinds) => (float[n, s, 48] y) {
        a = Gather (table, ids)
        b = Gather (few, kinds)
        c = Add (a, b)
        d = MatMul (c, w1)
        e = Relu (d)
        f = MatMul (e, w2)
        y = Add (f, c)
    }"""
    weights = {"table": normal(300, 48) * 5, "few": normal(2, 48), "w1": WEIGHTS["w1"], "w2": WEIGHTS["w2"]}
    proto, rng = model(text, **weights), np.random.default_rng(0)
    feeds = [{"ids": rng.integers(0, 20, (16, size)), "kinds": np.zeros((16, size), np.int64)} for size in (5, 5, 7)]
    for feed in feeds:
        feed["ids"][:, 0] = 33
    graph = load_proto(proto).graph
    tokens = Tokens.of(graph, feeds)
    assert tokens.rows == {"ids": 300} and tokens.few and tokens.marks["ids"].tolist() == [33]
    assert not Tokens.of(graph, [{"ids": np.arange(300).reshape(30, 10)}]).few
    mixed = tokens.mixed({name: torch.from_numpy(values) for name, values in feeds[0].items()}, 0.5, rng)
    changed = mixed["ids"].numpy() != feeds[0]["ids"]
    assert 0 < changed.mean() < 0.5 and not changed[:, 0].any() and not mixed["kinds"].any()
    assert not changed.any(axis=1).all()
    losses = []
    for mix in (0.0, None):
        options = Recover(steps=60, mix=mix, rate=0.012)
        passes = "ternary{method=lloyd,include=op:MatMul}"
        result = compile_model(proto, passes, calibration=feeds, recover=options).model.to_proto()
        every = {"ids": np.arange(300).reshape(30, 10), "kinds": np.zeros((30, 10), np.int64)}
        losses.append(np.linalg.norm(run(result, every)[0] - run(proto, every)[0]))
    assert losses[1] < losses[0]
