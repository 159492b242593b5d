"""Kept blocks that move while a model recovers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from recovering import RESIDUAL, STEPS, WEIGHTS, compiled, error

from regc.compiler.recovery import recovery
from regc.compiler.recovery.trainable import DenseWeights
from regc.compiler.terms import Dense
from regc.passes.group_sparse.term import BlockSparse
from regc.passes.group_sparse.trainable import FALLING, SparseWeights
from regc.runtime_ops.formats.block_sparse import TILE
from support import model, normal

MOVING = dataclasses.replace(STEPS, moving=True)


def weights() -> SparseWeights:
    values = normal(2 * TILE, 12)
    values[:TILE, :6] *= 5
    keep = np.zeros((2, 12), np.bool_)
    keep[1, :6] = True
    term = BlockSparse(Dense(values * np.repeat(keep, TILE, 0)), keep, 1)
    return SparseWeights(term, DenseWeights(Dense(term.dense())), values)


def test_they_end_where_the_weight_is_large() -> None:
    found = weights()
    found.loosen()
    assert not found.settled(0.0) and np.array_equal(found.weight().detach().numpy(), found.origin)
    for step in range(1, 101):
        found.stepped(step / 100, 0.01)
        assert found.settled(step / 100) == (step / 100 >= FALLING)
    term = found.term()
    assert term.keep[0, :6].all() and np.count_nonzero(term.keep) == 6
    assert np.array_equal(term.dense() != 0, np.repeat(term.keep, TILE, 0))
    assert np.array_equal(found.weight().detach().numpy(), term.dense())


def test_the_others_decay_before_they_go() -> None:
    found = weights()
    found.loosen()
    for step in range(1, 60):
        found.stepped(step / 100, 0.01)
    after = np.abs(found.weight().detach().numpy() / found.origin)
    assert after[:TILE, :6].mean() > 0.1 and after[:TILE, :6].mean() > 2 * after[TILE:].mean()


@pytest.mark.parametrize("steps", [1, 48])
def test_a_model_keeps_its_size(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "LEAST_GAIN", -1e9)
    proto = model(RESIDUAL, **WEIGHTS)
    passes = "group-sparse{sparsity=0.75,scope=weight,method=energy}"
    plain, moved = (compiled(proto, passes, recover=r) for r in (None, dataclasses.replace(MOVING, steps=steps)))
    assert moved.recovered is not None and moved.recovered.worth
    assert [r.nbytes_after for r in moved.records] == [r.nbytes_after for r in plain.records]
    assert 0 < error(proto, moved) < 1


def test_coded_blocks_stay_where_they_are() -> None:
    proto = model(RESIDUAL, **WEIGHTS)
    passes = "group-sparse{sparsity=0.75,scope=weight},rf8"
    plain, moved = (compiled(proto, passes, recover=r) for r in (STEPS, MOVING))
    assert plain.recovered is not None and moved.recovered is not None
    assert plain.recovered.after == moved.recovered.after
    assert "nothing moved: no kept group is of float32" in moved.recovered.ended
