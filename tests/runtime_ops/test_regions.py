"""What the compiler is told of where operators win."""

from __future__ import annotations

from dataclasses import replace

import pytest

from regc.runtime_ops import ops
from regc.runtime_ops.regions import Region

REGION = Region(least_inputs=32, uses=((1, 0.9), (8, 0.25)))


@pytest.mark.parametrize(
    ("inputs", "rows", "share", "words"),
    [
        (32, 1, 0.9, None),
        (31, 1, 0.1, "is faster from 32 inputs on, the weight has 31"),
        (32, 1, 0.95, "is faster where a product of 1 row uses up to 90% of the weight, it uses 95%"),
        (32, 2, 0.25, None),
        (32, 8, 0.3, "is faster where a product of 8 rows uses up to 25% of the weight, it uses 30%"),
        (32, 9, 0.01, "is faster up to 8 rows, a product has 9"),
        (32, None, 0.9, None),
        (32, None, 0.95, "is faster where a product uses up to 90% of the weight, it uses 95%"),
    ],
)
def test_a_region_answers_in_words(inputs: int, rows: int | None, share: float, words: str | None) -> None:
    assert REGION.loses(inputs, rows, share) == words


@pytest.mark.parametrize(("block", "most"), [(1, 25), (2, 50), (3, 50), (4, 75), (32, 75)])
def test_wider_blocks_win_elsewhere(block: int, most: int) -> None:
    region = replace(REGION, blocks=((2, ((8, 0.5),)), (4, ((8, 0.75),))))
    assert region.loses(32, 8, most / 100, block) is None
    found = region.loses(32, 8, 0.8, block)
    assert found == f"is faster where a product of 8 rows uses up to {most}% of the weight, it uses 80%"


@pytest.mark.parametrize("name", ops.OPERATORS)
def test_every_region_is_in_order(name: str) -> None:
    region = ops.OPERATORS[name].region
    sizes = [size for size, _ in region.blocks]
    assert sizes == sorted(set(sizes))
    for uses in (region.uses, *(uses for _, uses in region.blocks)):
        limits, shares = zip(*uses, strict=True)
        assert list(limits) == sorted(set(limits))
        assert 0 < min(shares) <= shares[0] == max(shares) <= 1


@pytest.mark.parametrize("name", ops.OPERATORS)
def test_where_times_are_known_a_product_is_slower_the_more_it_uses(name: str) -> None:
    region = ops.OPERATORS[name].region
    assert [rows for rows, _, _ in region.times] == sorted({rows for rows, _, _ in region.times})
    for rows in (1, 3, 8, 100) if region.times else ():
        speeds = [region.speed(rows, share) for share in (0.1, 0.5, 1.0)]
        assert speeds == sorted(speeds, reverse=True)
        assert all(speeds)


def test_times_are_taken_between_the_rows_that_were_measured() -> None:
    region = Region(times=((1, 0.1, 0.8), (4, 0.3, 1.4)))
    assert region.speed(1, 0.5) == pytest.approx(2.0)
    assert region.speed(2, 0.5) == pytest.approx(1 / 0.75)
    assert region.speed(4, 0.5) == region.speed(99, 0.5) == pytest.approx(1.0)
    assert REGION.speed(1, 0.5) is None


def test_a_variant_with_an_ending_wins_where_its_base_does() -> None:
    assert ops.OPERATORS["GatedMatMulAdd"].region is ops.OPERATORS["GatedMatMul"].region


def test_the_operator_is_named() -> None:
    assert ops.wins("TernaryConv", (64, 64))
    assert ops.loses("TernaryConv", (64, 63)) == "TernaryConv is faster from 64 inputs on, the weight has 63"
