import numpy as np
import pytest

from regc.compiler import (
    PassManager,
    Progress,
    UsageError,
    compile_model,
)
from regc.compiler.model import from_proto
from regc.passes import RF8, LowRank, Ternary
from support import normal, op_types, two_layers


def test_every_site_has_a_record_with_bytes_and_error() -> None:
    result = compile_model(two_layers(), [LowRank(rank=85), RF8()])
    assert [record.info.name for record in result.records] == ["first", "second"]
    for record in result.records:
        assert record.changed
        assert record.after == "rank 85 (rf8 x rf8)"
        assert record.before == "float32"
        assert record.nbytes_after < record.nbytes_before / 6
        assert record.error is not None
        assert 0.3 < record.error < 1
        assert [d.leaf for d in record.decisions] == ["", "A", "B"]
    product, with_relu = "ai.regc::RF8MatMul", "ai.regc::RF8MatMulRelu"
    assert [record.emitted for record in result.records] == [f"{product}; {with_relu}", product]


def test_selectors_choose_for_all_passes_and_for_one() -> None:
    records = compile_model(two_layers(), "rf8", exclude=["first"]).records
    assert [r.changed for r in records] == [False, True]
    assert records[0].reason == 'excluded by "first"'
    records = compile_model(two_layers(), "ternary{include=second},rf8").records
    assert [r.after for r in records] == ["rf8", "ternary"]
    with pytest.raises(UsageError, match='"secnd" matches no weight; did you mean "second"'):
        compile_model(two_layers(), "ternary{include=secnd},rf8")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_refused_by_name(bad: float) -> None:
    weight = normal(256, 512)
    weight[3, 5] = bad
    records = compile_model(two_layers(first=weight), "rf8").records
    assert [r.changed for r in records] == [False, True]
    assert records[0].reason == "holds NaN or infinite values"


def test_a_structural_pass_after_codes_is_an_error_before_any_work() -> None:
    with pytest.raises(UsageError, match="low-rank cannot follow ternary"):
        PassManager([Ternary(), LowRank(ratio=2)])
    PassManager([Ternary(include=("head",)), LowRank(ratio=2)])


def test_no_passes_is_an_error() -> None:
    with pytest.raises(UsageError, match="at least one pass"):
        PassManager([])


def test_progress_counts_bytes_to_the_end() -> None:
    seen: list[Progress] = []
    compile_model(two_layers(), "rf8", callback=seen.append)
    assert [p.item for p in seen] == ["first", "second", ""]
    assert seen[0].done == 0
    assert seen[-1].done == seen[-1].total == 2 * 4 * 256 * 512


def test_the_manager_works_on_its_own() -> None:
    opened = from_proto(two_layers())
    records = PassManager([RF8()]).run(opened)
    assert all(record.changed for record in records)
    assert op_types(opened.to_proto()) == ["ai.regc::RF8MatMulRelu", "ai.regc::RF8MatMul"]
