"""Gradients that several threads find are those of one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regc.compiler.recovery.batches import Batch, Batches
from regc.compiler.recovery.beside import Beside, running_on
from support import normal


class Line(nn.Module):
    """A slope and an offset, of whose gradient a quarter is let through, and a parameter that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.slope, self.offset, self.idle = (nn.Parameter(torch.ones(3)) for _ in range(3))
        self.offset.register_post_accumulate_grad_hook(_quarter)

    def lesson(self, batch: Batch) -> Tensor:
        return (self.slope * batch.inputs["x"] + self.offset - batch.targets[0]).square().mean()


def _quarter(parameter: Tensor) -> None:
    assert parameter.grad is not None
    parameter.grad.mul_(0.25)


def batches(feeds: list[int], *, split: bool) -> Batches:
    arrays = [{"x": normal(count, 3, seed=count)} for count in feeds]
    return Batches.of(arrays, [], lambda inputs: [inputs["x"].tanh()], split=split, batch=5)


def gradients(given: Batches, count: int) -> list[Tensor | None]:
    """Those of a step."""
    line = Line()
    beside = Beside(line.lesson, list(line.parameters()), count)
    beside.backward(next(given.steps(np.random.default_rng(0), parts=count)))
    beside.close()
    return [parameter.grad for parameter in line.parameters()]


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("split", [True, False])
def test_they_are_the_same_on_several_threads(split: bool, count: int) -> None:
    given = batches([5, 5] if split else [5] * 24, split=split)
    slope, offset, idle = gradients(given, 1)
    found = gradients(given, count)
    assert idle is None and found[2] is None
    assert slope is not None and offset is not None and offset.abs().max() > 0
    torch.testing.assert_close(found[:2], [slope, offset])


def test_hooks_hear_of_the_sum_once() -> None:
    given, line = batches([5], split=True), Line()
    part = next(given.steps(np.random.default_rng(0)))[0]
    expected = torch.autograd.grad(line.lesson(part.take()), [line.offset])[0] / 4
    found = gradients(given, 2)[1]
    assert found is not None
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("parts", [1, 2, 4, 99])
def test_parts_are_the_whole_of_a_step(parts: int) -> None:
    whole = next(batches([13], split=True).steps(np.random.default_rng(0)))
    found = next(batches([13], split=True).steps(np.random.default_rng(0), parts=parts))
    samples = len(whole[0].take().inputs["x"])
    assert len(found) == min(parts, samples) and sum(part.share for part in found) == pytest.approx(1)
    taken = torch.cat([part.take().inputs["x"] for part in found])
    assert torch.equal(taken, whole[0].take().inputs["x"])
    assert all(torch.equal(b.targets[0], b.inputs["x"].tanh()) for b in (part.take() for part in found))


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), running_on(1):
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == before
