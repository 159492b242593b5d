"""What is trained on, and what judges it."""

from __future__ import annotations

import numpy as np
import torch

from regc.compiler.recovery.batches import Batches, Inputs, Mix


def batches(mix: Mix | None) -> Batches:
    ids = np.arange(40, dtype=np.int64).reshape(20, 2)
    feeds, held = [{"ids": ids[:15]}], [{"ids": ids[15:]}]
    return Batches.of(feeds, held, lambda inputs: [2.0 * inputs["ids"]], split=True, batch=4, mix=mix)


def test_held_out_samples_are_not_trained_on() -> None:
    found = batches(None)
    judged = torch.cat([batch.inputs["ids"] for batch in found.judging()])
    assert len(judged) == 5
    steps = found.steps(np.random.default_rng(0))
    trained = torch.cat([batch.inputs["ids"] for _ in range(8) for part in next(steps) for batch in [part.take()]])
    assert not torch.isin(judged, trained).any()


def test_where_training_mixes_words_mixed_samples_judge_too() -> None:
    def mix(inputs: Inputs, rng: np.random.Generator) -> Inputs:
        return {"ids": inputs["ids"] + 100 * int(rng.integers(1, 9))}

    plain, found = list(batches(None).judging()), batches(mix)
    judged = list(found.judging())
    assert all(torch.equal(a.inputs["ids"], b.inputs["ids"]) for a, b in zip(plain, judged, strict=False))
    assert len(judged) == 2 * len(plain) and (torch.cat([b.inputs["ids"] for b in judged[len(plain) :]]) >= 100).all()
    assert all(torch.equal(batch.targets[0], 2.0 * batch.inputs["ids"]) for batch in judged)
    again = list(found.judging())
    assert all(torch.equal(a.inputs["ids"], b.inputs["ids"]) for a, b in zip(judged, again, strict=True))
